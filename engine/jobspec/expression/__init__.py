"""PURE room: expressions, from a text to a value, within bounds.

`parse` reads a text, `check` finds unknown names and impossible types before anything runs, and `evaluate` walks the
tree within a budget. Reads no clock and throws no dice: both come as an argument (`Outside`). An error names the
expression, the column, what was expected and what kind of value was found, never a value.
"""
