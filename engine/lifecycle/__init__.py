"""The verbs that move a task: one verb, one module, one transaction; then poke the flusher.

A verb locks the rows it will judge (job, task, node, lapses: always in that order), asks the model, writes
through the store, commits. It never calls Celery, Docker or Flask. docs/lifecycle.rst walks through them.
"""
