"""Verbs that move a task: one verb, one module, one transaction; then the verb wakes the flusher.

A verb locks the rows that it judges (job, task, node, lapse counter: always in this order), asks the model, writes
through the store and commits. It never calls Celery, Docker or Flask. See docs/lifecycle.rst.

A verb takes the `Installation` first and the `Caller` second. The caller is the author of the verb's events. A verb
in which a node acts for itself (claim, take_over, beat) reads the node's id from the caller; a verb that others may
do to a node (lapse, drain) takes the node as an argument of its own. append_log writes no event and takes no caller.
"""
