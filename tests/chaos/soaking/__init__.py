"""Parts of `tests/chaos/soak.py`: the submitted tasks, the faults, the checks at the end, and the report."""
