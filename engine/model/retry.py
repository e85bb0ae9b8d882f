"""Decisions about retries of failed attempts, crashes of owners, and the grace before a restart elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.jobspec.quantities import duration_seconds
from engine.jobspec.task import Retry
from engine.model.records import Refusal
from engine.model.states import NodeState
from engine.wording.durations import duration

#: An attempt that machines could not begin this often, or for this long, FAILS.
MOST_REFUSALS = 5
MOST_REFUSED_MS = 15 * 60 * 1000
_LONGEST_REFUSED_SECONDS = 60


@dataclass(frozen=True)
class RetryDecision:
    """Decision whether a failed attempt is retried, and after which delay."""

    again: bool
    delay_ms: int
    #: In words, for the event.
    reason: str


def decide(policy: Retry, attempt: int, chance: float) -> RetryDecision:
    """Decide what follows the failure of attempt number `attempt`. As in Tork, `limit` 1 allows two attempts.

    The delay is initialDelay x scalingFactor^(attempt-1), at most maxDelay, minus a random part of up to `jitter` times
    the delay. `chance` is the random number in 0…1, drawn by the caller.
    """
    if attempt > policy.limit:
        reason = "no retry left" if policy.limit else "no retries configured"
        return RetryDecision(False, 0, f"{reason} (attempt {attempt}, retry limit {policy.limit})")
    first = duration_seconds(policy.initial_delay)
    longest = duration_seconds(policy.max_delay)
    try:
        seconds = min(first * policy.scaling_factor ** (attempt - 1), longest)
    except OverflowError:
        seconds = longest
    seconds *= 1 - policy.jitter * chance
    return RetryDecision(True, round(seconds * 1000), f"retry {attempt} of {policy.limit} in {seconds:.3g} s")


def crashes_after(crashes: int, former: NodeState, held_ms: int, calm_ms: int) -> int:
    """Return the number of crashes in a row after a task left its former owner.

    Only a lapse counts as a crash; after an owner that held the task for `calm_ms`, counting starts again.
    """
    if former is not NodeState.LAPSED:
        return crashes
    return 1 if held_ms >= calm_ms else crashes + 1


def after_refusal(refusals: Sequence[Refusal]) -> RetryDecision:
    """Decide what follows when one more machine could not begin a link of an attempt; `refusals` ends with it.

    The owner's retries are not used. The bounds are few enough for an owner to learn soon what no machine can begin,
    and many enough for a machine that is repaired meanwhile.
    """
    last, past_ms = refusals[-1], refusals[-1].at - refusals[0].at
    if len(refusals) < MOST_REFUSALS and past_ms < MOST_REFUSED_MS:
        seconds = min(2 ** (len(refusals) - 1), _LONGEST_REFUSED_SECONDS)
        return RetryDecision(True, seconds * 1000, f"{last.reason}; due again in {seconds} s")
    by_node = {refusal.node: refusal.reason for refusal in refusals}
    reasons = "; ".join(f"{node}: {reason}" for node, reason in by_node.items())
    times = f"{len(refusals)} times in {duration(past_ms)}"
    return RetryDecision(False, 0, f"no machine could begin it ({times}): {reasons}")


def grace_ms(former: NodeState, age_ms: int, bounds: tuple[float, float, float]) -> int:
    """Return the time from the first sight of an ended node until a reconciler restarts the chain elsewhere.

    `bounds` are the least and the longest grace after a lapse, and the grace after an orderly leave, in seconds. After
    a lapse the grace is a tenth of the attempt's age: an adoption that saves more work may take longer.
    """
    low, high, left = bounds
    if former is NodeState.LEFT:
        return round(left * 1000)
    return round(min(max(age_ms / 10, low * 1000), max(high, low) * 1000))
