"""Explicit-state model of workflows: one database transaction is one step, and every order of steps is tried.

What follows from what is decided by the code's own functions (`engine/model/tree.py`); the model adds the rows, their
guards, and everybody who acts on them. A *stepper* reads a step that the rows say is due, evaluates outside of any
lock, and writes later under the job's lock: anything may happen in between, so every stale writer is included. A
stepper may die between any two transactions; a worker may be given up while its thread goes on; people cancel and
restart. There is no clock. `python -m tests.model.workflow` explores the bounds.
"""
