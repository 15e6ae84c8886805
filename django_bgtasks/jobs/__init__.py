"""The straight line of a job: enqueue, dispatch, execute."""
