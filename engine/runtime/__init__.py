"""Order -> container -> Outcome. Makes the world so, and may be asked twice for the same Order.

It knows no jobs, rows, queues or retries: a runtime can be tried alone, and changed for another.
"""
