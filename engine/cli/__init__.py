"""The command line. It speaks HTTP to an API like any other client.

Only `doctor`, `validate` and `db` examine this host themselves, and `standalone`, `run` and `api` start servers.
Text of users is made harmless for a terminal before it is printed.
"""
