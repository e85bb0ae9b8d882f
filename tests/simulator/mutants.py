"""Mutants: the protocol with one of its guards, or one of a worker's rules, left out.

Names are those of the explicit-state model where it has them. A mutant is a function that patches the store,
a verb's module or the keeper, and returns the worker to run.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulator import weak_repairs as repairs
from tests.simulator import weak_rows as rows
from tests.simulator import weak_workers as workers
from tests.simulator.worker import Worker

Mutant = Callable[[pytest.MonkeyPatch], type[Worker]]


def _as(kind: type[Worker]) -> Mutant:
    return lambda patch: kind


def _of(verb: str) -> Mutant:
    return lambda patch: rows.blind(patch, verb)


MUTANTS: dict[str, Mutant] = {
    "mark-state": rows.mark_state,
    "mark-token": rows.mark_token,
    "resend-state": rows.resend_state,
    "resend-token": _of("resend"),
    "claim-token": _of("claim"),
    "claim-state": rows.claim_never_asks_state,
    "claim-own_live": rows.claim_own_live,
    "begin-link-token": _of("begin_link"),
    "begin-link-state": rows.begin_link_state,
    "confirm-token": _of("confirm"),
    "confirm-owner": rows.confirm_owner,
    "confirm-order": rows.confirm_order,
    "confirm-again": rows.confirm_again,
    "confirm-ignored": _as(workers.IgnoresConfirm),
    "finish-token": _of("finish_link"),
    "finish-state": rows.finish_state,
    "finish-link-state": rows.finish_link_state,
    "finish-container": rows.finish_container,
    "give-back-token": _of("give_back"),
    "cancel-state": rows.cancel_state,
    "beat-state": rows.beat_state,
    "live-state": rows.live_state,
    "takeover-lapsed": repairs.takeover_lapsed,
    "takeover-own_live": repairs.takeover_own_live,
    "takeover-delivery": repairs.takeover_delivery,
    "takeover-token": _of("take_over"),
    "takeover-found": _as(workers.TakesWithoutFinding),
    "self-takeover-token": _of("self_take_over"),
    "self-takeover-own": repairs.self_takeover_own,
    "restart-token": _of("restart"),
    "restart-lapse": repairs.restart_lapse,
    "restart-looked": repairs.restart_looked,
    "restart-joining": repairs.restart_joining,
    "restart-deaf": repairs.restart_deaf,
    "restart-delivery": repairs.restart_delivery,
    "restart-uses-retry": repairs.restart_uses_retry,
    "timeout-token": _of("timeout"),
    "timeout-lapse": repairs.timeout_lapse,
    "timeout-looked": repairs.timeout_looked,
    "timeout-early": repairs.timeout_early,
    "no-timeout": workers.no_timeout,
    "no-clock": _as(workers.HasNoClock),
    "resume-anew": repairs.resume_anew,
    "leave-gives-all": _as(workers.GivesBackAll),
    "leave-gives-nothing": _as(workers.GivesBackNothing),
    "crash-self": repairs.crash_self,
    "crash-left": repairs.crash_left,
    "lapse-sequence": repairs.lapse_sequence,
    "name-origin": rows.name_origin,
    "resume-last": repairs.skip_order,
    "find-no-created": _as(workers.FindsNoCreated),
    "find-no-exited": _as(workers.FindsNoExited),
    "find-no-volume": _as(workers.FindsNoVolume),
    "join-no-stale": _as(workers.JoinsWithoutRemoval),
    "join-no-adopt": _as(workers.JoinsWithoutAdopting),
    "join-blind": _as(workers.JoinsBlind),
    "looked-first": _as(workers.LooksFirst),
    "looked-late": _as(workers.LooksLate),
    "ok-at-once": _as(workers.OkAtOnce),
    "same-node-id": _as(workers.SameNodeId),
    "start-exited": _as(workers.StartsExited),
    "start-created": _as(workers.StartsCreated),
    "unmake-nothing": _as(workers.UnmakesNothing),
    "volume-unchecked": _as(workers.ChecksNoVolume),
    "clear-nothing": _as(workers.ClearsNothing),
    "sweep-rows-first": _as(workers.SweepsRowsFirst),
    "remove-when-refused": _as(workers.RemovesWhenRefused),
    "no-tie-up": _as(workers.TiesNothingUp),
    "no-resend": workers.no_resend,
    "no-restart": workers.no_restart,
    "no-lapse": workers.no_lapse,
    "mark-first": workers.mark_first,
}

#: Nothing that a promise is about can differ: another guard decides the same. Why, in words.
SILENT = {
    "takeover-lapsed": "LAPSED and LEFT are final and a new owner has a new token: the token says it already",
    "restart-token": "the lapse number is one node's: while that node is the row's, no token was changed",
    "restart-lapse": "the token says it already, as for takeover-lapsed",
    "confirm-order": "begin_link and resume ask the order before, and one thread has the token",
    "confirm-again": "one thread has the token (Hands, begin_link), so nobody confirms twice",
    "begin-link-state": "Hands refuses a token in hand, confirm what was confirmed under it",
    "finish-link-state": "the thread that ended a link is over, and nobody else has its token",
    "finish-state": "cancel ends the links that are confirmed, and an ended link is refused",
    "restart-deaf": "a Docker that is silent answers when the faults have stopped: it only delays",
    "mark-first": "what was marked and never sent is sent again, as what was lost: it only delays",
    "timeout-token": "gone, looked for and overdue are asked of the row as it is: its end is due under any token",
    "clear-nothing": "who joins removes former runs before it claims: with join-no-stale as well, a seed finds it",
    "no-timeout": "who takes over or starts again has the attempt's clock, and ends it: it only delays",
    "leave-gives-nothing": "a node that LEFT has its row started again after the grace: it only delays",
    "finish-container": "one thread has the token, and it confirmed the container that it ends",
}
#: Each is silent while the other guards: left out together they are found.
TOGETHER = ("clear-nothing+join-no-stale",)
