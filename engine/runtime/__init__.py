"""Container engines: an order becomes a container, and the container's end an outcome.

A runtime knows no jobs, rows, queues or retries, so it can be tested alone and replaced by another. Every call may be
repeated for the same order.
"""
