"""Workflows: chains, groups, and batches with callbacks."""
