"""PURE. Text -> what a user asks for.

Parses YAML and JSON with line and column, checks every field, names every problem at once, and holds the
doors: what a task may name of the host comes in as a frozen `HostAccess`. It reads no file, no clock, no
environment variable, and knows no states.
"""
