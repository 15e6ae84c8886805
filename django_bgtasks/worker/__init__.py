"""The processes of `bgworker`: an arbiter, an upkeep child and job children."""
