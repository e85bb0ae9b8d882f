"""PURE room: from a text to the task, or the job of many tasks, that a user asks for.

Parses YAML and JSON with line and column, checks every field and reports all problems at once, also those with the
host access: a frozen `HostAccess`, provided by the caller, says which parts of the host tasks may use. Reads no
file, clock or environment variable, and knows no states.
"""
