"""Loggers of tasks."""

from __future__ import annotations

import logging


def get_task_logger(name: str) -> logging.Logger:
    """The logger of a module with tasks: `logging.getLogger(name)`."""
    return logging.getLogger(name)


get_logger = get_task_logger
