"""The idempotency log: an effect happens once for each key, in tasks and in views."""
