"""The parts of `tests/chaos/soak.py`: what it submits, what it breaks, what it asks at the end, how it tells it."""
