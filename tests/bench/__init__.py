"""Benchmark of Ferryman beside an anchor in the same run: `python -m tests.bench [ROW…] [--n 10] [--json FILE]`.

Ferryman and its anchors take turns, round by round, so that both meet the same machine. Nothing is asserted: a slow
machine must not fail a test.
"""
