"""What modules take from `celery.contrib`."""
