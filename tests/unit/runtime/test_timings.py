"""Spans of a link and their stopwatch."""

from __future__ import annotations

from engine.runtime.timings import SPANS, Timings


class Clock:
    """Clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_nested_span_is_not_counted_twice() -> None:
    clock = Clock()
    timings = Timings(clock)
    clock.now += 5  # in no span
    with timings.span("creating"):
        clock.now += 0.010
        with timings.span("pulling"):
            clock.now += 2
        clock.now += 0.020
    with timings.span("creating"):
        clock.now += 0.001
    assert timings.in_ms() == {"pulling": 2000, "creating": 31}


def test_an_open_span_counts_up_to_now() -> None:
    clock = Clock()
    timings = Timings(clock)
    with timings.span("ending"):
        clock.now += 0.5
        assert timings.in_ms() == {"ending": 500}
        clock.now += 0.5
    assert timings.in_ms() == {"ending": 1000}


def test_spans_are_returned_in_their_order_and_an_error_closes_one() -> None:
    clock = Clock()
    timings = Timings(clock)
    for step in reversed(SPANS[1:]):
        try:
            with timings.span(step):
                clock.now += 1
                raise ValueError
        except ValueError:
            clock.now += 7
    assert list(timings.in_ms().items()) == [(step, 1000) for step in SPANS[1:]]
