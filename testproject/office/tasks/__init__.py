"""The site's tasks, one kind of work a file."""
