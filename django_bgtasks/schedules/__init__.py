"""Jobs that are enqueued by themselves at certain times: set, fired, paused, made up."""
