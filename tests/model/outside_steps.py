"""Steps outside the workers: the sweep, containers that end, people, the broker, nodes that die and return."""

from __future__ import annotations

from typing import Any

from tests.model import model_mutants
from tests.model.adopter import PASS
from tests.model.model_promises import is_dead, removal_error
from tests.model.moves import Moves
from tests.model.state import BEATING, DATA, ENDED, Node, Resource, Volume, put, swap


def lapsed_from(state: str) -> str:
    """Return the state after a lapse: a LEAVING node has LEFT."""
    return "LEFT" if state == "LEAVING" and model_mutants.planted != "crash-leaving" else "LAPSED"


class WorldMoves(Moves):
    """Steps that belong to no thread of a worker."""

    def sweep(self, dm: int) -> None:
        """Remove what no live run owns: list first, then read the rows."""
        s, row, now, daemon = self.s, self.row, self.s.sweeps[dm - 1], self.s.daemons[dm - 1]
        things: list[Resource] = [*sorted(daemon.boxes), *sorted(daemon.volumes)]
        if not now:
            return self._begin_sweep(dm, things)
        if now[0] == "rows":
            for thing in (t for t in things if is_dead(s, now[1:], t)):
                self._swept(dm, f"lists {tuple(thing)}, takes it as dead", ("dead", thing))
            return self._swept(dm, "lists nothing dead", ())
        if now[0] == "listed":
            dead = is_dead(s, (row.state, row.attempt, row.origin), now[1])
            label = f"reads the row: {tuple(now[1])} is {'dead' if dead else 'live'}"
            return self._swept(dm, label, ("dead", now[1]) if dead else ())
        if not self._sweep_away(dm, now[1]):
            self._swept(dm, f"cannot remove {tuple(now[1])}", ())
        return None

    def _begin_sweep(self, dm: int, things: list[Resource]) -> None:
        row = self.row
        if model_mutants.planted == "sweep-order":
            if row.state != "NONE":
                read = (row.state, row.attempt, row.origin)
                self._swept(dm, f"reads the row: {read}", ("rows", *read))
            return
        for thing in things if model_mutants.planted != "no-sweep" else ():
            if self.bound.fine:
                self._swept(dm, f"lists {tuple(thing)}", ("listed", thing))
            elif is_dead(self.s, (row.state, row.attempt, row.origin), thing):
                self._sweep_away(dm, thing)

    def _swept(self, dm: int, label: str, then: tuple[Any, ...], error: str = "", **changes: Any) -> None:
        self.add(f"sweep on D{dm} {label}", error, sweeps=put(self.s.sweeps, dm - 1, then), **changes)

    def _sweep_away(self, dm: int, thing: Resource) -> bool:
        s = self.s
        now: Resource | None
        if isinstance(thing, Volume):
            now = s.volume(dm, *thing[:2])
            if any(box[:2] == thing[:2] for box in s.daemons[dm - 1].boxes):
                return False  # in use: 409
        else:
            now = s.box(dm, *thing[: 3 if model_mutants.planted == "sweep-by-name" else 4])
        if now is None:
            return False
        error = removal_error(self.bound, s, dm, now)
        self._swept(dm, f"REMOVES {tuple(now)}", (), error, daemons=swap(s.daemons, dm, now))
        return True

    def world(self) -> None:
        """Add the ends of containers, and what people, the broker, Docker and its host do."""
        s, row = self.s, self.row
        spent = {"faults": s.faults - 1, "soft": s.soft + 1}
        for dm in range(1, len(s.daemons) + 1):
            self._containers_end(dm)
            if self.may_fault("hand"):
                self._remove_by_hand(dm, spent)
        if self.may_fault("wipe") and s.messages:
            self.add("BROKER WIPED", fault=True, messages=frozenset(), **spent)
        stray = (row.attempt, row.delivery, 1, row.node)
        if self.may_fault("stray") and row.state == "RUNNING" and row.node > 0 and stray not in s.messages:
            self.add("STRAY MESSAGE for link 1", fault=True, messages=s.messages | {stray}, **spent)
        if not s.up:
            self.add("HOST OF D1 IS BACK, as it was", fault=True, up=True)
        elif self.may_fault("host"):
            self.add("HOST OF D1 VANISHES", fault=True, up=False, faults=s.faults - 1)
        if s.away:
            self.add("DOCKER OF D1 ANSWERS AGAIN", fault=True, away=False)
        elif self.may_fault("docker"):
            self.add("DOCKER OF D1 DOES NOT ANSWER", fault=True, away=True, **spent)
        if row.gone in ("LIVE", "LEAVING"):
            self.add("observer: the dead owner LAPSES", row=row._replace(gone=lapsed_from(row.gone)))

    def _containers_end(self, dm: int) -> None:
        s = self.s
        for box in s.daemons[dm - 1].boxes:
            if box.state != "running":
                continue
            daemons = swap(s.daemons, dm, box, box._replace(state="0"))
            volume = s.volume(dm, *box[:2])
            if box.link == 0 and volume:
                daemons = swap(daemons, dm, volume, volume._replace(kind=DATA))
            self.add(f"container {tuple(box)} ends with 0", daemons=daemons)
            if self.bound.fail:
                failed = swap(s.daemons, dm, box, box._replace(state="1"))
                self.add(f"container {tuple(box)} ends with 1", daemons=failed)

    def _remove_by_hand(self, dm: int, spent: dict[str, int]) -> None:
        boxes, volumes = self.s.daemons[dm - 1]
        used = {box[:2] for box in boxes}
        for thing in (*boxes, *(v for v in volumes if v[:2] not in used)):
            daemons = swap(self.s.daemons, dm, thing)
            self.add(f"BY HAND: docker rm -f {tuple(thing)}", fault=True, daemons=daemons, **spent)

    def machines(self) -> None:
        """Add the steps of nodes: start, join, lapse, be fenced, leave, die."""
        for n, me in enumerate(self.s.nodes, 1):
            if self.bound.nodes[n - 1] == 1 and not self.s.up:
                if me.alive and me.state in BEATING:
                    lapsed = me._replace(state=lapsed_from(me.state))
                    self._node(n, "observer: LAPSE of worker", lapsed, drop=())
            elif not me.alive:
                self._node(n, "a new process, JOINING: worker", Node(state="JOINING"))
            else:
                self._living_node(n, me)

    def _living_node(self, n: int, me: Node) -> None:
        s = self.s
        left, soft = s.faults - 1, s.soft + (me.state in ("LEAVING", "LEFT"))
        if me.state == "LAPSED":
            label = "finds itself LAPSED, detaches, JOINING under a new id: worker"
            self._node(n, label, Node(state="JOINING"), given_up="LAPSED")
        if me.state in BEATING and self.may_fault("lapse"):
            lapsed = me._replace(state=lapsed_from(me.state))
            self._node(n, "LAPSE (paused or slow) of worker", lapsed, True, drop=(), faults=left, soft=soft)
        if me.state == "LIVE" and self.may_fault("leave"):
            leaving = me._replace(state="LEAVING")
            self._node(n, "SIGTERM, LEAVING: worker", leaving, True, faults=left, soft=s.soft + 1)
        if me.state == "LEAVING":
            self._node(n, "LEFT: worker", me._replace(state="LEFT"), drop=())
        if me.state == "LEFT":
            self._node(n, "exit of worker", Node(False, "LAPSED"), given_up="LEFT", drop=None)
        if "docker" in self.bound.kinds and self.bound.nodes[n - 1] == 1 and me.state in ("JOINING", "LIVE"):
            self._watch_docker(n, me)
        busy = any(act and m == n for act, m in zip(s.slots, self.bound.slots, strict=True))
        if "kill" in self.bound.kinds and left >= 0 and (self.row.state not in ENDED or busy):
            dead = Node(False, "LAPSED")
            was = "LIVE" if me.state == "JOINING" else me.state
            self._node(n, "KILL -9 of worker", dead, True, was, drop=None, faults=left, soft=soft)

    def _watch_docker(self, n: int, me: Node) -> None:
        if self.s.away and me.runtime_ok:
            self._node(n, "runtime_ok=false: worker", me._replace(runtime_ok=False))
        if not self.s.away and not me.runtime_ok:
            state = "LIVE" if model_mutants.planted == "ok-at-once" else "JOINING"
            self._node(n, "Docker answers, JOINING again: worker", Node(state=state, looked=me.looked))

    def _node(
        self,
        n: int,
        label: str,
        after: Node,
        fault: bool = False,
        given_up: str = "",
        drop: tuple[str, ...] | None = PASS,
        **changes: Any,
    ) -> None:
        """Add a node's step.

        drop: the acts that end with it (None: all); given_up: the state in which the id stays behind.
        """
        s, row, slots = self.s, self.row, []
        if given_up and model_mutants.planted != "same-node-id":
            changes["messages"] = frozenset(m for m in s.messages if m[3] != n)
            if row.node == n:
                changes["row"] = row._replace(node=-self.bound.nodes[n - 1], gone=given_up)
        for act, m in zip(s.slots, self.bound.slots, strict=True):
            ends = m == n and act and (drop is None or act.step in drop)
            slots.append(() if ends else act)
        nodes = put(s.nodes, n - 1, after)
        self.add(f"{label} {n}", fault=fault, nodes=nodes, slots=tuple(slots), **changes)
