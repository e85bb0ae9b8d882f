"""PURE room: records, states, names, and the decisions about what follows from them.

Reads no clock and does no I/O: time is an argument, in milliseconds since 1970 (UTC), as the database wrote it.
"""
