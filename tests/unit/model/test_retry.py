"""Retries, crashes and graces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.jobspec.task import Retry
from engine.model.retry import crashes_after, decide, grace_ms
from engine.model.states import NodeState

BOUNDS = (15.0, 300.0, 600.0)


def test_no_retry_is_made_where_none_is_asked_for() -> None:
    decision = decide(Retry(), 1, 0)
    assert not decision.again and "no retries configured" in decision.reason


def test_limit_counts_retries() -> None:
    policy = Retry(limit=2)
    assert [decide(policy, attempt, 0).again for attempt in (1, 2, 3)] == [True, True, False]
    assert "no retry left" in decide(policy, 3, 0).reason


def test_the_delay_grows_by_its_factor_up_to_its_bound() -> None:
    policy = Retry(limit=9, initial_delay="10s", scaling_factor=3, max_delay="2m")
    assert [decide(policy, attempt, 0).delay_ms for attempt in (1, 2, 3, 4)] == [
        10_000,
        30_000,
        90_000,
        120_000,
    ]


def test_a_delay_beyond_all_numbers_is_the_longest_one() -> None:
    policy = Retry(limit=5000, initial_delay="1s", scaling_factor=10, max_delay="1h")
    assert decide(policy, 4000, 0).delay_ms == 3_600_000


def test_jitter_takes_off_up_to_its_share() -> None:
    policy = Retry(limit=1, initial_delay="10s", jitter=0.5)
    assert [decide(policy, 1, chance).delay_ms for chance in (0, 0.5, 1)] == [10_000, 7_500, 5_000]


@given(st.integers(1, 200), st.floats(1, 10), st.floats(0, 1), st.floats(0, 1))
def test_a_delay_is_never_below_nothing_nor_above_its_bound(
    attempt: int, factor: float, jitter: float, chance: float
) -> None:
    policy = Retry(1000, "1s", factor, "1m", jitter)
    assert 0 <= decide(policy, attempt, chance).delay_ms <= 60_000


@pytest.mark.parametrize(
    ("crashes", "former", "held_ms", "after"),
    [
        (0, NodeState.LAPSED, 5_000, 1),
        (3, NodeState.LAPSED, 599_999, 4),
        (3, NodeState.LAPSED, 600_000, 1),
        (3, NodeState.LEFT, 5_000, 3),
        (3, NodeState.LEFT, 700_000, 3),
    ],
)
def test_only_a_lapse_counts_and_a_long_hold_begins_anew(
    crashes: int, former: NodeState, held_ms: int, after: int
) -> None:
    assert crashes_after(crashes, former, held_ms, 600_000) == after


@pytest.mark.parametrize(
    ("age_ms", "grace"),
    [(0, 15_000), (150_000, 15_000), (1_000_000, 100_000), (3_000_000, 300_000), (90_000_000, 300_000)],
)
def test_the_grace_is_a_tenth_of_the_age_within_its_bounds(age_ms: int, grace: int) -> None:
    assert grace_ms(NodeState.LAPSED, age_ms, BOUNDS) == grace


def test_the_grace_after_leaving_is_a_fixed_one() -> None:
    assert grace_ms(NodeState.LEFT, 90_000_000, BOUNDS) == 600_000


def test_a_least_grace_above_the_most_wins() -> None:
    assert grace_ms(NodeState.LAPSED, 0, (400.0, 300.0, 0)) == 400_000
