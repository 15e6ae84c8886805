"""How claimed jobs run in a job process: one after another, in threads, or on an event loop."""
