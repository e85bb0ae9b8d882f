"""The protocol's simulator: the real verbs on a real SQL, beside daemons, broker and processes that a seed drives.

`disasters.py` is one seed's life; `sim_worker.py`, `carrier.py` and `keeper.py` are a process in steps, `daemon.py`
is Docker and Redis; `checker.py` knows the promises; `mutants.py` leaves out one guard after the other.
"""
