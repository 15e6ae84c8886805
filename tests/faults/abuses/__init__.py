"""What no task should do."""

from . import amounts, changes, endings, errors, results
from .kinds import KINDS, left

__all__ = ["KINDS", "amounts", "changes", "endings", "errors", "left", "results"]
