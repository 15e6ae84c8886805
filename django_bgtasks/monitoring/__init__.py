"""One snapshot of a site and one diagnosis: read by the dashboard, commands and exporters."""
