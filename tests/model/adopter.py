"""Steps of a node's free thread: claim, begin a link, look over the daemon, take over, join."""

from __future__ import annotations

from typing import Any

from tests.model import model_mutants
from tests.model.model_mutants import holds
from tests.model.model_promises import is_dead
from tests.model.moves import Moves, hand_over
from tests.model.state import ENDED, LIVING, Act, Box, Resource, Volume, put

#: The steps of a pass and of a join.
PASS = ("list", "scan", "looked", "join list", "join read", "join remove", "join take", "live")
Message = tuple[int, int, int, int]


class AdopterMoves(Moves):
    """Pass of a LIVE node (lapse number and rows, list, take_over, looked), and the join of a new node."""

    def idle(self) -> None:
        """Add the steps of a thread that has no work."""
        for message in self.s.messages:
            self._receive(message)
        if self.me.state == "JOINING":
            return self._begin_join()
        self._begin_pass()
        if self._is_mine_and_loose():
            self._self_take_over()
        return None

    def _receive(self, message: Message) -> None:
        consume, s = self.bound.consume, self.s
        left = s.messages - {message} if consume else s.messages
        ok = self._claim(message, left) if message[2] == 0 else self._begin_link(message, left)
        if not ok and consume:
            self.to(f"drops message {message}", (), messages=left)

    def _claim(self, message: Message, left: frozenset[Message]) -> bool:
        row, (attempt, delivery, _, _) = self.row, message
        waiting = row.state == "SCHEDULED" or (
            row.state == "PENDING" and model_mutants.planted != "claim-scheduled-only"
        )
        joining = self.me.state == "JOINING" and model_mutants.planted == "claim-joining"
        ok = holds(
            "claim",
            state=waiting,
            attempt=attempt == row.attempt,
            delivery=delivery == row.delivery,
            own_live=self.me.state == "LIVE" or joining,
        )
        if ok:
            origin = 0 if model_mutants.planted == "name-no-origin" else row.delivery
            self.to(
                f"CLAIMS {row.token}",
                Act("look", attempt, delivery, origin, 0),
                "I2 an ended task was claimed" if row.state in ENDED else "",
                messages=left,
                links=(("WAITING", 0),) * self.bound.links,
                row=row._replace(state="RUNNING", node=self.node, origin=origin, gone=""),
            )
        return ok

    def _begin_link(self, message: Message, left: frozenset[Message]) -> bool:
        s, row, (attempt, delivery, link, target) = self.s, self.row, message
        ok = row.state == "RUNNING" and holds(
            "link",
            token=(attempt, delivery) == row.token,
            node=target == self.node == row.node,
            prev=s.links[link - 1][0] == "ENDED",
            once=s.links[link][0] == "WAITING",
        )
        if ok:
            act = Act("look", attempt, delivery, row.origin, link)
            self.to(f"begins link {link} of {attempt, delivery}", act, messages=left)
        return ok

    def _begin_join(self) -> None:
        row = self.row
        mine = zip(self.s.slots, self.bound.slots, strict=True)
        if any(act and act.step in PASS and node == self.node for act, node in mine):
            return
        lost = row.state == "RUNNING" and self.s.lapsed()
        run = (row.attempt, row.delivery, row.origin) if lost else (0, 0, 0)
        first = "live" if model_mutants.planted == "join-blind" else "join list"
        self.to("joins: reads the last lapse's number", Act(first, *run, 0))

    def _begin_pass(self) -> None:
        s, row = self.s, self.row
        # To these two, a look that begins before the lapse matters.
        soon = model_mutants.planted in ("looked-late", "lapse-sequence")
        if row.state != "RUNNING" or row.node == self.node or self.me.looked:
            return
        if (s.lapsed() or soon) and model_mutants.planted != "no-takeover":
            act = Act("list", row.attempt, row.delivery, row.origin, 0, (1,) * s.lapsed())
            self.to(f"reads: row {row.token} has owner {s.owner()}", act)

    def _is_mine_and_loose(self) -> bool:
        """Return whether the row names me, without a thread of mine and without a message that may still come."""
        s, row = self.s, self.row
        if row.state != "RUNNING" or row.node != self.node or self.me.state != "LIVE":
            return False
        if self.bound.consume or model_mutants.planted == "no-self-takeover":
            return False
        link = s.first_open()
        coming = (row.attempt, row.delivery, link, self.node) in s.messages
        if link > 0 and s.links[link][0] == "WAITING" and coming and not self.bound.hasty:
            return False
        return model_mutants.planted == "self-takeover-busy" or not self._is_busy()

    def _is_busy(self) -> bool:
        acts = zip(self.s.slots, self.bound.slots, strict=True)
        return any(
            act and act.step != "clean" and act[1:3] == self.row.token and node == self.node
            for act, node in acts
        )

    def _self_take_over(self) -> None:
        after, quick = hand_over(self.bound, self.s, model_mutants.planted == "crash-self")
        act = Act("look", after.attempt, after.delivery, after.origin, self.s.first_open())
        then = act if after.state == "RUNNING" else ()
        self.to(f"TAKES OVER ITS OWN row -> {after.state} {after.token}", then, row=after, quick=quick)

    def take_over(self, act: Act) -> None:
        """Take over another node's task, under a new delivery."""
        s, row, join = self.s, self.row, act.step == "join take"
        ok = holds(
            "takeover",
            state=row.state == "RUNNING",
            attempt=act.attempt == row.attempt,
            delivery=act.delivery == row.delivery,
            lapsed=s.lapsed(),
            own_live=self.me.state
            in (("LIVE",) if model_mutants.planted == "takeover-live-only" else LIVING),
        )
        if not ok or row.node in (0, self.node):
            once = model_mutants.planted == "join-once" and join
            return self.to("take_over refused", act.at("live") if once else ())
        error = "" if s.lapsed() else "I6 taken from a node that has not lapsed"
        if row.state in ENDED:
            error = "I2 an ended task was taken over"
        for after, ghosts in self.handed(node=self.node, state="RUNNING"):
            then: Act | tuple[()] = Act("live", 0, 0, 0, 0) if join else ()
            if after.state == "RUNNING":
                delivery = {"takeover-delivery": act.delivery + 1, "takeover-same-token": row.delivery}
                after = after._replace(delivery=delivery.get(model_mutants.planted, after.delivery))
                if model_mutants.planted == "name-delivery":
                    after = after._replace(origin=after.delivery)
                look = Act("look", after.attempt, after.delivery, after.origin, s.first_open())
                then = look.at("live", (1,)) if join else look
            self.to(f"TAKE_OVER -> {after.state} {after.token}", then, error, row=after, **ghosts)

    def adopt(self, act: Act) -> None:
        """Add the next step of a pass or a join."""
        steps: dict[str, Any] = {
            "list": self._list,
            "looked": self._looked,
            "live": self._looked,
            "join list": self._join_list,
            "join read": self._join_read,
            "join remove": self._join_remove,
        }
        steps.get(act.step, self.take_over)(act)

    def _things(self) -> tuple[Resource, ...]:
        daemon = self.s.daemons[self.dm - 1]
        return (*sorted(daemon.boxes), *sorted(daemon.volumes))

    def _list(self, act: Act) -> None:
        here = act.known and (
            _found(self._things(), (act.attempt, act.origin)) or model_mutants.planted == "takeover-found"
        )
        then = "scan" if here and model_mutants.planted != "looked-first" else "looked"
        known = (1, 1) if here else act.known
        self.to(f"lists: {'found' if here else 'nothing of it here'}", act.at(then, known))

    def _looked(self, act: Act) -> None:
        """Raise looked to the number that was read before the list; in a join, become LIVE with it."""
        live = act.step == "live"
        state = "LIVE" if live and self.me.state == "JOINING" else self.me.state
        me = self.me._replace(looked=self.me.looked or self._covers(act), state=state)
        then = ""
        if live and act.known:
            then = "look"
        elif model_mutants.planted == "looked-first" and len(act.known) == 2:
            then = "scan"
        label = f"is {me.state}" if live else "sets looked"
        self.to(label, act.at(then) if then else (), nodes=put(self.s.nodes, self.node - 1, me))

    def _covers(self, act: Act) -> bool:
        """Return whether the number that was read is at least the lapse of this task's owner."""
        row, live = self.row, act.step == "live"
        if row.state != "RUNNING" or row.token != act[1:3] or self.me.state not in LIVING:
            return False
        if live and act.known:
            return False
        if act.known or live or model_mutants.planted == "looked-late":
            return self.s.lapsed()
        return model_mutants.planted == "lapse-sequence"

    def _join_list(self, act: Act) -> None:
        things = self._things()
        self.to(f"lists {len(things)} things", act.at("join read", things))

    def _join_read(self, act: Act) -> None:
        s, row = self.s, self.row
        read = (row.state, row.attempt, row.origin)
        dead = tuple(t for t in act.known if self._runs_beside(read, t))
        mine = row.state == "RUNNING" and s.lapsed() and _found(act.known, (row.attempt, row.origin))
        if mine and model_mutants.planted != "join-no-adopt":
            then = Act("join remove", row.attempt, row.delivery, row.origin, 1, dead)
            return self.to(f"reads the row: {len(dead)} stale, one to adopt", _after_removals(then))
        then = Act("join remove", act.attempt, act.delivery, act.origin, 0, dead)
        return self.to(f"reads the row: {len(dead)} stale", _after_removals(then))

    def _runs_beside(self, read: tuple[str, int, int], thing: Resource) -> bool:
        """Return whether this is a former run's container that may run while the task goes on in another run."""
        if isinstance(thing, Volume) or thing.exited or model_mutants.planted == "join-no-stale":
            return False
        return read[0] not in ENDED and is_dead(self.s, read, thing)

    def _join_remove(self, act: Act) -> None:
        box = self.s.box(self.dm, *act.known[0][:4])
        self.remove(box, _after_removals(act.at("join remove", act.known[1:])))


def _found(things: tuple[Resource, ...], run: tuple[int, int]) -> bool:
    """Return whether anything of this run is among the resources."""
    skipped = {"find-no-created": ("created", "unstartable"), "find-no-exited": ("0", "1")}
    skip = skipped.get(model_mutants.planted, ())
    # In these two, the task has no volume.
    with_volumes = model_mutants.planted not in ("find-no-volume", *skipped)
    return any(
        thing[:2] == run and (thing.state not in skip if isinstance(thing, Box) else with_volumes)
        for thing in things
    )


def _after_removals(act: Act) -> Act:
    """Return the step of a join after all stale resources are gone."""
    if act.known:
        return act
    return act._replace(step="join take" if act.link else "live")
