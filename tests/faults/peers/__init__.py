"""The comparison of docs/reliability.md: the same faults for this package and for its peers.

`tox run -e peers` measures; nothing of this runs with the tests. Each system gets its own site, its
own worker command and the options that its documentation recommends; see the adapters `on_*.py`.
"""
