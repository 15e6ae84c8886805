"""Workflows beside the peers: the same chord and the same chain, and a worker killed in a chord.

`tox run -e peer-workflows` measures; nothing of this runs with the tests. Each system has a module
`on_*.py` with its tasks, the two shapes, and its worker command for two jobs at once.
"""
