"""What no task should do."""

from . import amounts, changes, endings, errors, inheritance, results
from .kinds import KINDS, left

__all__ = ["KINDS", "amounts", "changes", "endings", "errors", "inheritance", "left", "results"]
