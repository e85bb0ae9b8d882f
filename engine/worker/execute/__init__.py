"""Execution of links: the Celery task, the run of one link with its stages, and the log writer."""
