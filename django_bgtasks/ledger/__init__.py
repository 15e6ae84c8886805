"""The only writer of job state. Every write is conditional, and zero rows is an answer."""
