"""What the idempotency log goes by."""
