"""How long things are kept."""

from datetime import timedelta

JOBS_KEPT = timedelta(days=60)
"""Jobs are removed this long after their end, with their events and their log."""
