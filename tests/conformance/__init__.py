"""Other projects' own tests of the tasks API, run against this backend; see run.py."""
