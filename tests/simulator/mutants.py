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
from tests.simulator.sim_worker import Worker
from tests.simulator.weak_guards import without

Mutant = Callable[[pytest.MonkeyPatch], type[Worker]]


def _as(kind: type[Worker]) -> Mutant:
    return lambda patch: kind


def _of(verb: str) -> Mutant:
    return lambda patch: rows.blind(patch, verb)


MUTANTS: dict[str, Mutant] = {
    "mark-state": rows.mark_state,
    "mark-token": rows.mark_token,
    "mark-resend-state": without("lock_unchanged.state"),
    "resend-state": rows.resend_state,
    "resend-token": _of("resend"),
    "claim-token": without("claim.token"),
    "claim-state": without("claim.state"),
    "claim-own_live": rows.claim_own_live,
    "begin-link-token": _of("begin_link"),
    "begin-link-state": rows.begin_link_state,
    "confirm-token": without("confirm.token"),
    "confirm-owner": without("confirm.owner"),
    "confirm-order": rows.confirm_order,
    "confirm-again": without("confirm.newer"),
    "confirm-ignored": _as(workers.IgnoresConfirm),
    "finish-token": _of("finish_link"),
    "finish-state": rows.finish_state,
    "finish-link-state": without("finish_link.state"),
    "finish-container": without("finish_link.container"),
    "give-back-token": without("give_back.token"),
    "give-back-state": without("give_back.state"),
    "cancel-state": rows.cancel_state,
    "leave-state": without("leave.state"),
    "beat-state": rows.beat_state,
    "live-state": without("move_node.state"),
    "takeover-lapsed": without("take_over.owner"),
    "takeover-own_live": repairs.takeover_own_live,
    "takeover-delivery": repairs.takeover_delivery,
    "takeover-token": _of("take_over"),
    "takeover-state": without("take_over.state"),
    "takeover-found": _as(workers.TakesWithoutFinding),
    "self-takeover-token": without("self_take_over.token"),
    "self-takeover-state": without("self_take_over.state"),
    "self-takeover-own": without("self_take_over.owner", "self_take_over.node_live"),
    "restart-token": _of("restart"),
    "restart-state": without("restart.state"),
    "restart-lapse": without("restart.lapse"),
    "restart-looked": without("restart.looked"),
    "restart-joining": repairs.restart_joining,
    "restart-deaf": without("restart.runtime_ok"),
    "restart-delivery": repairs.restart_delivery,
    "restart-uses-retry": repairs.restart_uses_retry,
    "timeout-token": _of("timeout"),
    "timeout-lapse": repairs.timeout_lapse,
    "timeout-looked": without("timeout.looked"),
    "timeout-early": repairs.timeout_early,
    "no-timeout": workers.no_timeout,
    "no-clock": _as(workers.HasNoClock),
    "resume-anew": repairs.resume_anew,
    "leave-gives-all": _as(workers.GivesBackAll),
    "leave-gives-nothing": _as(workers.GivesBackNothing),
    "refused-unlooked": _as(workers.LooksAtNothingRefused),
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

#: Mutants that no seed finds, because another guard or rule decides the same or the promises do not cover it.
SILENT = {
    "takeover-lapsed": "LAPSED and LEFT are final and a new owner has a new token, so the token decides already",
    "restart-token": "a lapse number belongs to one node: while the row names that node, its token did not change",
    "restart-lapse": "the token decides already, as for takeover-lapsed",
    "confirm-order": "begin_link and resume check the order before, and one thread has the token",
    "confirm-again": "one thread has the token (RunningLinks, begin_link), so nobody confirms twice",
    "begin-link-state": "RunningLinks refuses a token that runs already, confirm refuses what it confirmed",
    "finish-link-state": "the thread that ended a link is over, and nobody else has its token",
    "finish-state": "cancel ends the links that are confirmed, and an ended link is refused",
    "restart-deaf": "a silent Docker answers when the faults have stopped: the restart is only late",
    "mark-first": "a task that was marked and never sent is sent again as a lost one: it is only late",
    "timeout-token": "the row's own node, looks and age are checked: its end is due under any token",
    "clear-nothing": "a joining node removes former runs before it claims; with join-no-stale, a seed finds it",
    "no-timeout": "whoever takes over or restarts has the attempt's clock, and ends it: it is only late",
    "leave-gives-nothing": "the row of a node that LEFT is restarted after the grace: it is only late",
    "finish-container": "one thread has the token, and it confirmed the container that it ends",
}
#: Mutants that are silent alone, because each does the other's work, and are found together.
TOGETHER = ("clear-nothing+join-no-stale",)

_READS_LOCKED_ROW = "the verb compares the locked row before, and nothing changes it in between"
_ROWS_TOKEN = "the verb passes the token of the row that it has locked, RUNNING"
_CLOSED = "a task that ended has no link that is open, so the link's own guard refuses"
#: Guards whose loss alone no seed finds; their keys are mutants too.
SILENT_GUARDS = {
    "abandon_link.state": "end_task.close asks for links that it has just read as CONFIRMED, under the task's lock",
    "append_log.state": "the simulator has no logs: tests/conformance/store/test_logs.py",
    "append_log.last_words": "the simulator has no logs: tests/conformance/lifecycle/test_last_words.py",
    "append_log.next": "the simulator has no logs: tests/conformance/lifecycle/test_log_writer.py",
    "record_exit.once": "for people only: tests/conformance/lifecycle/test_last_words.py",
    "record_exit.container": "for people only: tests/conformance/lifecycle/test_last_words.py",
    "append_log.token": "the simulator has no logs: tests/conformance/store/test_logs.py",
    "begin_link.owner": "a new owner has a new token",
    "begin_link.state": _CLOSED,
    "begin_link.token": "begin_link compares the token of the row that it reads next",
    "cancel.state": _READS_LOCKED_ROW,
    "confirm.link_open": "chain.may_begin refuses a link that ended, read under the task's lock",
    "confirm.state": _CLOSED,
    "end_job.state": "it is asked under the job's lock, by the verb that ends the open task of the job",
    "end_task.token": _ROWS_TOKEN,
    "finish_link.no_container": "a link without a container ends in the thread that has the token",
    "forget.age": "the simulator forgets no node: tests/conformance/lifecycle/test_outbox.py",
    "forget.state": "the simulator forgets no node: tests/conformance/lifecycle/test_outbox.py",
    "forget.tasks": "the simulator forgets no node: tests/conformance/lifecycle/test_outbox.py",
    "forget_refusals.state": _ROWS_TOKEN,
    "forget_refusals.token": _ROWS_TOKEN,
    "hold.state": "the simulator holds no node: tests/conformance/lifecycle/test_verb_nodes.py",
    "keep_result.state": _ROWS_TOKEN,
    "keep_result.token": _ROWS_TOKEN,
    "lapse.beat": _READS_LOCKED_ROW,
    "lapse.state": _READS_LOCKED_ROW,
    "looked.forward": "one thread of a node writes it, with numbers that only rise",
    "restart.token": _READS_LOCKED_ROW,
    "retry.state": _ROWS_TOKEN,
    "retry.token": _ROWS_TOKEN,
    "skip_link.state": "end_task asks for links that it has just read as WAITING, under the task's lock",
    "start_job.state": "a claim asks under the job's lock; a job that is RUNNING already stays RUNNING",
    "take_over.token": _READS_LOCKED_ROW,
    "timeout.runtime_ok": "a silent Docker answers when the faults have stopped: the time-out is only late",
    "timeout.state": "end_task and retry, which follow, have the state as a guard of their own",
    "timeout.token": _READS_LOCKED_ROW,
}
MUTANTS |= {key: without(key) for key in SILENT_GUARDS}
