"""Explicit-state model of the recovery protocol: rows are the truth, messages hints, containers outlive workers.

One transaction, one broker call or one Docker call is one step, and every order of steps is tried. A paused process
takes no step for a while, so every pause and every zombie is included; other processes see a pause as a lapse.
There is no clock: any node may lapse at any moment. `python -m tests.model` explores the bounds.
"""
