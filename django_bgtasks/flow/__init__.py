"""The straight line of a job: enqueue → dispatch → execute; and upkeep, which repairs it."""
