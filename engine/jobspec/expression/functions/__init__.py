"""PURE room: the functions of expressions, one table.

Each entry has its signature, which bounds the arguments before the function sees them, a sentence and an example for
docs/reference/expressions.rst, and the code. A function counts what it costs before it makes anything large.
"""
