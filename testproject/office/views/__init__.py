"""The views: each stores what it was given, enqueues, and answers at once."""
