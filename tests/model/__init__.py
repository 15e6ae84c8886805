"""The protocol as a small model, and an exhaustive search of it."""
