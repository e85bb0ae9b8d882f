"""The only SQL. One function is one statement or one compare-and-set; it returns records or None.

Nothing here decides what follows, and nothing commits: the verb that called opens the transaction
(`database.begin`) and ends it. Locks are taken in one order: job, task, node, lapses (protocol 2).
"""
