"""When a member's report may come: a day as cron has it, and what people read."""

from __future__ import annotations

DAYS = [
    ("MON", "Monday"), ("TUE", "Tuesday"), ("WED", "Wednesday"), ("THU", "Thursday"),
    ("FRI", "Friday"), ("SAT", "Saturday"), ("SUN", "Sunday"), ("*", "Every day"),
]  # fmt: skip
