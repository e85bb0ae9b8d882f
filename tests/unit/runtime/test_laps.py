"""The stopwatch of a link's steps."""

from __future__ import annotations

from engine.runtime.laps import STEPS, Laps


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_step_inside_another_is_not_counted_twice() -> None:
    clock = Clock()
    laps = Laps(clock)
    clock.now += 5  # nobody's
    with laps.of("creating"):
        clock.now += 0.010
        with laps.of("pulling"):
            clock.now += 2
        clock.now += 0.020
    with laps.of("creating"):
        clock.now += 0.001
    assert laps.in_ms() == {"pulling": 2000, "creating": 31}


def test_a_step_that_is_under_way_counts_so_far() -> None:
    clock = Clock()
    laps = Laps(clock)
    with laps.of("ending"):
        clock.now += 0.5
        assert laps.in_ms() == {"ending": 500}
        clock.now += 0.5
    assert laps.in_ms() == {"ending": 1000}


def test_steps_come_in_their_order_and_an_error_ends_one() -> None:
    clock = Clock()
    laps = Laps(clock)
    for step in reversed(STEPS[1:]):
        try:
            with laps.of(step):
                clock.now += 1
                raise ValueError
        except ValueError:
            clock.now += 7
    assert list(laps.in_ms().items()) == [(step, 1000) for step in STEPS[1:]]
