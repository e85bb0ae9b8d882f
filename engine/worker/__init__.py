"""The worker process on a node, beside its Docker daemon: Celery's hooks, the node's threads, the sweep.

This room calls verbs and the runtime. It writes no SQL and decides no retry. Celery imports `bootstrap` by name.
"""
