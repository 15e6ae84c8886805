"""A module of a site that fails when it is imported."""

raise RuntimeError("a module that is broken")
