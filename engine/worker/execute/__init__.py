"""The work itself: the Celery task, the run of one link from prepare to its recorded end, and the log writer."""
