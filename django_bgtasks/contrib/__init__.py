"""Bridges to other systems. Nothing here is imported unless the site names it."""
