"""The processes of `bgworker`: a supervisor, a maintenance process and job processes."""
