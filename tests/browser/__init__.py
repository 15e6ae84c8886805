"""The pages in a real browser: `tox run -e browser`, and `tox run -e screenshots` for pictures."""
