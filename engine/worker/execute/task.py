"""run_link, the one Celery task: claim -> prepare -> confirm -> go -> finish, and the three ways out.

run_link *returns* when its link ended well, and Celery sends the next of the chain. It raises LinkFailed when the link
ended badly (what follows is written already), and Ignore when this process does not speak for the link.
"""

from __future__ import annotations

import logging
from typing import Any

import celery
from celery import shared_task
from celery.exceptions import Ignore, Reject

from engine import failpoints
from engine.dispatch.app import RUN_LINK
from engine.dispatch.chain import started_route
from engine.dispatch.flusher import link_titles
from engine.errors import BrokerUnavailable, FerrymanError, StoreUnavailable
from engine.lifecycle.assignment import Assignment
from engine.lifecycle.claim import begin_link, claim
from engine.lifecycle.finish import FollowUp
from engine.model.records import Token
from engine.model.states import NodeState
from engine.store import nodes, tasks
from engine.worker.context import WorkerContext, get_context
from engine.worker.execute.link_run import LinkRun

log = logging.getLogger("ferryman.link")


class LinkFailed(FerrymanError):
    """The link ended badly; its end and the retry, if any, are written. The chain ends here."""


class LinkTask(celery.Task):
    """Celery's task class with our Request: late acknowledgements survive a restart of the broker."""

    Request = "engine.worker.intake.consumer:LateRequest"
    #: Celery logs these in one line, without a traceback: they are not defects.
    throws = (LinkFailed,)


@shared_task(bind=True, base=LinkTask, name=RUN_LINK, ignore_result=True)
def run_link(self: Any, task_id: str, attempt: int, delivery: int, index: int) -> None:
    """Run link `index` of the task's chain, if (attempt, delivery) still speaks for the task."""
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
            raise Ignore  # Celery's chain carries the older delivery
    except (Ignore, Reject, LinkFailed):
        raise
    except BaseException as exc:
        # A SystemExit, KeyboardInterrupt or MemoryError would end the pool's thread, and its slot with it.
        log.exception("run_link %s", task_id)
        raise RuntimeError(repr(exc)) from None


def _begin(context: WorkerContext, token: Token, index: int) -> Assignment | None:
    """Claim the task, or begin its link `index`; None when the message is a copy. Raise Reject to requeue it."""
    # A drained or held node goes on with the chains that it has, and claims nothing.
    may_begin = context.may_claim if index == 0 else context.live or context.draining.is_set()
    if context.leaving.is_set() or not may_begin:
        # A pause, so that a message does not circle while the node joins.
        context.leaving.wait(0.2)
        raise Reject("this node claims nothing now", requeue=True)
    try:
        if index:
            return begin_link(context.installation, context.caller, token, index)
        assignment = _claim(context, token)
        if assignment is None:
            _reject_if_drained(context)
        return assignment
    except StoreUnavailable as exc:
        log.warning("the database does not answer, the message goes back to its queue: %s", exc)
        context.leaving.wait(1.0)
        raise Reject("the database does not answer", requeue=True) from exc


def _claim(context: WorkerContext, token: Token) -> Assignment | None:
    offered = context.sandboxes.reserve()
    try:
        assignment = claim(context.installation, context.caller, token, offered)
    except BaseException:
        context.sandboxes.release(offered, None, is_known=False)
        raise
    context.sandboxes.release(offered, assignment.order.sandbox if assignment is not None else None)
    return assignment


def _reject_if_drained(context: WorkerContext) -> None:
    """Requeue the message of a refused claim when this node is being drained: another node must get it."""
    with context.installation.db.read() as c:
        me = nodes.get(c, context.node_id)
    if me is not None and me.state is NodeState.LEAVING:
        context.leaving.wait(0.2)
        raise Reject("this node is drained", requeue=True)


def _pin(chain: list[Any] | None, own_queue: str) -> None:
    """Send all further links to this node: the links of an attempt share a daemon and volumes."""
    for signature in chain or ():
        options = {k: v for k, v in signature["options"].items() if k not in ("exchange", "routing_key")}
        signature["options"] = options | {"queue": own_queue, "priority": 0}


def send_next(context: WorkerContext, finished: FollowUp, *, chain_sends: bool) -> None:
    """Send the next link, unless Celery does: `chain_sends`, and the chain goes on by itself.

    A broker that is away does no harm: the node finds its own row without a thread and retakes it.
    """
    if finished.next_index is None or (chain_sends and finished.chain_goes_on):
        return
    with context.installation.db.read() as c:
        task = tasks.get(c, finished.token.task_id)
    if task is None or task.token != finished.token:
        return
    way = started_route(context.own_queue, link_titles(task), alone=not finished.chain_goes_on)
    try:
        context.flusher.publisher.send(task, way, finished.next_index)
        failpoints.hit("next.published")
    except BrokerUnavailable as exc:
        log.warning("the next link is not sent, this node will retake its task: %s", exc)
