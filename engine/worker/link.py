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
from engine.worker.carry import carry
from engine.worker.here import Here, get_here

log = logging.getLogger("ferryman.link")


class LinkFailed(FerrymanError):
    """The link ended badly; its end, and the retry if there is one, are written. The chain ends here."""


class LinkTask(celery.Task):
    """Celery's task class, with our Request: late acks survive a broker that restarts."""

    Request = "engine.worker.consumer:LateRequest"
    #: Celery logs these in one line, without a trace: they are no defect.
    throws = (LinkFailed,)


@shared_task(bind=True, base=LinkTask, name=RUN_LINK, ignore_result=True)
def run_link(self: Any, task_id: str, attempt: int, delivery: int, index: int) -> None:
    """Carry out link `index` of the task's chain, if (attempt, delivery) still speaks for it."""
    try:
        here = get_here()
        token = Token(str(task_id), int(attempt), int(delivery))
        assignment = _begin(here, token, int(index))
        if assignment is None:
            here.claims_lost += 1
            raise Ignore
        _pin(self.request.chain, here.own_queue)
        finished = carry(here, assignment)
        if finished is None:
            raise Ignore
        send_next(here, finished, chain_sends=finished.token == token)
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


def _begin(here: Here, token: Token, index: int) -> Assignment | None:
    drained = here.draining.is_set()
    if here.leaving.is_set() or (index == 0 if drained else not here.live):
        # Not ours to take now; the message goes back. A pause, so that a node that joins does not spin.
        here.leaving.wait(0.2)
        raise Reject("this node is not live", requeue=True)
    try:
        if index == 0:
            assignment = _claim(here, token)
            if assignment is None:
                _unless_drained(here)
            return assignment
        return begin_link(here.installation, token, index, here.node_id)
    except StoreUnavailable as exc:
        log.warning("not claimed, the message goes back: %s", exc)
        here.leaving.wait(1.0)
        raise Reject("the database is away", requeue=True) from exc


def _claim(here: Here, token: Token) -> Assignment | None:
    offered = here.sandboxes.reserve()
    try:
        assignment = claim(here.installation, token, here.node_id, offered)
    except BaseException:
        here.sandboxes.release(offered, None, is_known=False)
        raise
    here.sandboxes.release(offered, assignment.order.sandbox if assignment is not None else None)
    return assignment


def _unless_drained(here: Here) -> None:
    """A claim was refused: when that is since somebody drains this node, the message is for another."""
    with here.installation.db.read() as c:
        me = nodes.get(c, here.node_id)
    if me is not None and me.state is NodeState.LEAVING:
        here.leaving.wait(0.2)
        raise Reject("this node is drained", requeue=True)


def _pin(chain: list[Any] | None, own_queue: str) -> None:
    """All links of an attempt run on the node that took the first: they share its daemon and volumes."""
    for signature in chain or ():
        kept = {k: v for k, v in signature["options"].items() if k not in ("exchange", "routing_key")}
        signature["options"] = kept | {"queue": own_queue, "priority": 0}


def send_next(here: Here, finished: Finished, *, chain_sends: bool) -> None:
    """Send what follows in the chain, unless Celery does (`chain_sends` and it goes on by itself).

    A broker that is away does no harm: the node finds its own row without a thread and takes it up.
    """
    if finished.next_index is None or (chain_sends and finished.chain_goes_on):
        return
    with here.installation.db.read() as c:
        task = tasks.get(c, finished.token.task_id)
    if task is None or task.token != finished.token:
        return
    way = later_way(here.own_queue, link_names(task), alone=not finished.chain_goes_on)
    try:
        here.flusher.publisher.send(task, way, finished.next_index)
        failpoints.hit("next.published")
    except BrokerUnavailable as exc:
        log.warning("the next link is not sent: %s", exc)
