"""Workflows: chains, groups, batches and their callbacks."""
