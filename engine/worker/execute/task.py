"""run_link, the one Celery task: claim -> prepare -> confirm -> go -> finish, and its three ways out.

It *returns* when its link ended well, and Celery sends the next of the chain; it raises LinkFailed when it
ended badly (what follows is written already); it raises Ignore when this process does not speak for the link.
"""

from __future__ import annotations

import logging
from typing import Any

import celery
from celery import shared_task
from celery.exceptions import Ignore, Reject

from engine import failpoints
from engine.dispatch.app import RUN_LINK
from engine.dispatch.chain import later_way
from engine.dispatch.flusher import link_names
from engine.errors import BrokerUnavailable, FerrymanError, StoreUnavailable
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import begin_link, claim
from engine.lifecycle.finish import Finished
from engine.model.records import Token
from engine.model.states import NodeState
from engine.store import nodes, tasks
from engine.worker.context import WorkerContext, get_context
from engine.worker.execute.link_run import LinkRun

log = logging.getLogger("ferryman.link")


class LinkFailed(FerrymanError):
    """The link ended badly; its end, and the retry if there is one, are written. The chain ends here."""


class LinkTask(celery.Task):
    """Celery's task class, with our Request: late acks survive a broker that restarts."""

    Request = "engine.worker.intake.consumer:LateRequest"
    #: Celery logs these in one line, without a trace: they are no defect.
    throws = (LinkFailed,)


@shared_task(bind=True, base=LinkTask, name=RUN_LINK, ignore_result=True)
def run_link(self: Any, task_id: str, attempt: int, delivery: int, index: int) -> None:
    """Carry out link `index` of the task's chain, if (attempt, delivery) still speaks for it."""
    try:
        context = get_context()
        token = Token(str(task_id), int(attempt), int(delivery))
        assignment = _begin(context, token, int(index))
        if assignment is None:
            context.claims_lost += 1
            raise Ignore
        _pin(self.request.chain, context.own_queue)
        finished = LinkRun(context, assignment).run()
        if finished is None:
            raise Ignore
        send_next(context, finished, chain_sends=finished.token == token)
        if not finished.ok:
            raise LinkFailed(f"{assignment.task_name} {assignment.link_name} ended badly")
        if finished.token != token:
            raise Ignore  # Celery's chain is the older delivery's
    except (Ignore, Reject, LinkFailed):
        raise
    except BaseException as exc:
        # In the threads pool a SystemExit, KeyboardInterrupt or MemoryError loses the slot for good.
        log.exception("run_link %s", task_id)
        raise RuntimeError(repr(exc)) from None


def _begin(context: WorkerContext, token: Token, index: int) -> Assignment | None:
    drained = context.draining.is_set()
    if context.leaving.is_set() or (index == 0 if drained else not context.live):
        # Not ours to take now; the message goes back. A pause, so that a node that joins does not spin.
        context.leaving.wait(0.2)
        raise Reject("this node is not live", requeue=True)
    try:
        if index == 0:
            assignment = _claim(context, token)
            if assignment is None:
                _unless_drained(context)
            return assignment
        return begin_link(context.installation, token, index, context.node_id)
    except StoreUnavailable as exc:
        log.warning("not claimed, the message goes back: %s", exc)
        context.leaving.wait(1.0)
        raise Reject("the database is away", requeue=True) from exc


def _claim(context: WorkerContext, token: Token) -> Assignment | None:
    offered = context.sandboxes.reserve()
    try:
        assignment = claim(context.installation, token, context.node_id, offered)
    except BaseException:
        context.sandboxes.release(offered, None, is_known=False)
        raise
    context.sandboxes.release(offered, assignment.order.sandbox if assignment is not None else None)
    return assignment


def _unless_drained(context: WorkerContext) -> None:
    """A claim was refused: when that is since somebody drains this node, the message is for another."""
    with context.installation.db.read() as c:
        me = nodes.get(c, context.node_id)
    if me is not None and me.state is NodeState.LEAVING:
        context.leaving.wait(0.2)
        raise Reject("this node is drained", requeue=True)


def _pin(chain: list[Any] | None, own_queue: str) -> None:
    """All links of an attempt run on the node that took the first: they share its daemon and volumes."""
    for signature in chain or ():
        kept = {k: v for k, v in signature["options"].items() if k not in ("exchange", "routing_key")}
        signature["options"] = kept | {"queue": own_queue, "priority": 0}


def send_next(context: WorkerContext, finished: Finished, *, chain_sends: bool) -> None:
    """Send what follows in the chain, unless Celery does (`chain_sends` and it goes on by itself).

    A broker that is away does no harm: the node finds its own row without a thread and takes it up.
    """
    if finished.next_index is None or (chain_sends and finished.chain_goes_on):
        return
    with context.installation.db.read() as c:
        task = tasks.get(c, finished.token.task_id)
    if task is None or task.token != finished.token:
        return
    way = later_way(context.own_queue, link_names(task), alone=not finished.chain_goes_on)
    try:
        context.flusher.publisher.send(task, way, finished.next_index)
        failpoints.hit("next.published")
    except BrokerUnavailable as exc:
        log.warning("the next link is not sent: %s", exc)
