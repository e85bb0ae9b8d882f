"""Home of all SQL. A function is one query or one compare-and-set; it returns records, a bool or None.

Nothing here decides what follows, and nothing commits: the calling verb opens the transaction (`Database.begin`)
and ends it. Locks are taken in one order: job, task, node, lapses (see docs/protocol.rst).
"""
