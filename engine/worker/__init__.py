"""On a node, beside its daemon: Celery's hooks, the threads of a worker process, and the sweep of its daemon.

It calls verbs and the runtime. It writes no SQL and decides no retry. `boot` is what Celery imports by name.
"""
