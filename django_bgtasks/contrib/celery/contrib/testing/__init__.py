"""What tests take from `celery.contrib.testing`."""
