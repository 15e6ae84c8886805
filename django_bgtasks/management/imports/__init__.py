"""What `bgimport` reads of other queues, a file for each, and how it becomes schedules and jobs."""
