"""Limits and sequences: who may run, and who waits."""
