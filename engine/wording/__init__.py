"""Words and forms that people read, made in one place: safe text, durations, times, exit codes, link titles.

A leaf: every room may use it, and it imports the standard library only.
"""
