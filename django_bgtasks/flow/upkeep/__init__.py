"""Upkeep: one file per duty, each a `tick` that is safe to run twice and on many hosts at once."""
