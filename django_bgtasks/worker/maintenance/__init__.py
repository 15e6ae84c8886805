"""The maintenance process of `bgworker`, and its tasks, one a file."""
