"""Whether a failed attempt is tried again, and when; and whether a crash was one too many."""

from __future__ import annotations

from dataclasses import dataclass

from engine.jobspec.quantities import duration_seconds
from engine.jobspec.task import Retry
from engine.model.states import NodeState


@dataclass(frozen=True)
class RetryDecision:
    """`again` after `delay_ms`, with the reason in words for the event."""

    again: bool
    delay_ms: int
    reason: str


def decide(policy: Retry, attempt: int, chance: float) -> RetryDecision:
    """After attempt number `attempt` failed. `limit` counts retries: 1 runs at most twice (Tork).

    The delay is initialDelay x scalingFactor^(attempt-1), at most maxDelay; up to the share `jitter` of it is
    taken off at random (`chance` in 0…1 is the draw, given by the caller).
    """
    if attempt > policy.limit:
        reason = "no retry left" if policy.limit else "no retry asked for"
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
    """The count of crashes after a hand-over (protocol 2a): only a lapse counts, a long hold begins anew."""
    if former is not NodeState.LAPSED:
        return crashes
    return 1 if held_ms >= calm_ms else crashes + 1


def grace_ms(former: NodeState, age_ms: int, bounds: tuple[float, float, float]) -> int:
    """How long after it first saw the lapse a reconciler waits before it starts the chain elsewhere.

    `bounds` are grace_min, grace_max and restart_grace in seconds. After a lapse: a tenth of the attempt's
    running time within the first two; after LEFT: restart_grace (DESIGN 5.5).
    """
    low, high, left = bounds
    if former is NodeState.LEFT:
        return round(left * 1000)
    return round(min(max(age_ms / 10, low * 1000), max(high, low) * 1000))
