"""Simulator of the protocol: the real verbs on a real database, with daemons, broker and processes driven by a seed.

`disasters.py` runs one seed; `sim_worker.py`, `carrier.py` and `keeper.py` are a process in steps, `daemon.py` is
Docker and Redis; `checker.py` checks the promises; `mutants.py` leaves out one guard after the other.
"""
