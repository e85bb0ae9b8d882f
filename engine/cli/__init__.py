"""The command line. It speaks HTTP to an API like any other client.

Only `doctor`, `validate` and `db` look at this host themselves, and `standalone` starts the servers. What
users wrote is made harmless for a terminal before it is printed.
"""
