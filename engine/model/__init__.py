"""PURE. What follows from what: records, states, names, and the decisions between them.

No clock and no I/O: time comes as an argument, in milliseconds since 1970 (UTC), as the database wrote it.
"""
