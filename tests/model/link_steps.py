"""Steps of a thread that runs a link: look, create, confirm, start, wait, finish."""

from __future__ import annotations

from typing import Any

from tests.model import model_mutants
from tests.model.adopter import PASS, AdopterMoves
from tests.model.model_mutants import holds
from tests.model.model_promises import removal_error
from tests.model.moves import hand_over
from tests.model.row_steps import RowMoves, ended_badly
from tests.model.state import AUTO, ENDED, MADE, RETRIES, Act, Box, Daemon, Row, Volume, born, put, swap

#: The steps that ask Docker.
DOCKER = frozenset(
    {"look", "remove", "revoke", "volume", "create", "check", "undo", "start", "refused", "unmake", "wait"}
    | {"clean"}
    | {"list", "join list", "join remove"}
)
#: Of these, before a container of its own exists.
MAKES = ("look", "volume", "create")


class WorkerMoves(AdopterMoves, RowMoves):
    """Steps of a link, and the ways in which a thread lets go of it."""

    def act(self, act: Act) -> None:
        """Add the next step of this thread."""
        if act.step in MAKES and self.me.state in ("LEAVING", "LEFT"):
            self._lets_go(act)
        if act.step in DOCKER and self.s.away and self.dm == 1:
            return
        if act.step in PASS:
            return self.adopt(act)
        steps: dict[str, Any] = {
            "look": self._look,
            "remove": self._remove,
            "revoke": self._revoke,
            "volume": self._volume,
            "create": self._create,
            "check": self._check,
            "confirm": self._confirm,
            "undo": self._undo,
            "give back": self._give_back,
            "start": self._start,
            "refused": self._refused,
            "unmake": self._unmake,
            "wait": self._wait,
            "finish": self._finish,
            "send": self._send,
            "clean": self._clean,
        }
        return steps[act.step](act)

    def _lets_go(self, act: Act) -> None:
        """Let go because the worker leaves; nobody could find anything of a run that this thread claimed itself."""
        made_nothing = act.link == 0 and act.origin == act.delivery
        if made_nothing or model_mutants.planted == "leave-gives-all":
            self.to("leaves: lets go before a container is made", act.at("give back", ("leaves",)))

    def _look(self, act: Act) -> None:
        """List everything of this task on this daemon, by label."""
        s, run = self.s, (act.attempt, act.origin)
        former = [
            box
            for box in s.daemons[self.dm - 1].boxes
            if box.state in ("created", "running") and box[:2] != run
            if box[:2] < run or model_mutants.planted == "purge-all"
        ]
        if former and model_mutants.planted != "no-purge":
            old = min(former)
            return self.to(f"looks: {tuple(old)} of a former run", act.at("remove", (*old[:4], 1)))
        mine = s.box(self.dm, *run, act.link)
        if mine is None:
            return self.to(f"looks: {(*run, act.link)} absent", act.at("create" if act.link else "volume"))
        if born(mine.by) > act.delivery and model_mutants.planted != "newer-followed":
            return self.to("looks: a newer delivery's container, I am fenced: drops", ())
        if mine.state == "running":
            return self.to("looks: running", act.at("wait", (mine.by,)))
        if mine.exited:
            then = act.at("finish", (mine.by, int(mine.state)))
            again = model_mutants.planted == "exited-start"
            return self.to(f"looks: exited {mine.state}", act.at("start", (mine.by,)) if again else then)
        return self._look_at_created(act, mine)

    def _look_at_created(self, act: Act, mine: Box) -> None:
        start = act.at("check" if act.link else "confirm", (mine.by,))
        if born(mine.by) == act.delivery:  # another thread of this process holds my token
            return self.to(
                "looks: created under my own token", start if model_mutants.planted == "created-own" else ()
            )
        remove = act.at("remove", (*mine[:4], 0))
        if mine.state == "unstartable":
            return self.to(f"looks: unstartable, by delivery {born(mine.by)}", remove)
        instead = {
            "created-start": start,
            "created-force": act.at("remove", (*mine[:4], 1)),
            "no-revoke": remove,
        }
        then = instead.get(model_mutants.planted, act.at("revoke", mine[:4]))
        return self.to(f"looks: created, by delivery {born(mine.by)}", then)

    def _remove(self, act: Act) -> None:
        """Remove by id; by force only what is dead for ever."""
        box = self.s.box(self.dm, *act.known[:4])
        plain = box and box.state == "running" and not act.known[4]
        self.remove(None if plain else box, act.at("look"), act)

    def _revoke(self, act: Act) -> None:
        """Take away what the start needs: a bind source."""
        box = self.s.box(self.dm, *act.known)
        if not box or box.state != "created":
            return self.to("revokes too late", act.at("look"))
        daemons = swap(self.s.daemons, self.dm, box, box._replace(state="unstartable"))
        return self.to(f"makes {tuple(box)} unstartable", act.at("look"), daemons=daemons)

    def _volume(self, act: Act) -> None:
        daemons = self.s.daemons
        if not self.s.volume(self.dm, act.attempt, act.origin):
            daemons = swap(daemons, self.dm, None, Volume(act.attempt, act.origin, MADE))
        self.to(f"creates volume {act.attempt, act.origin}", act.at("create"), daemons=daemons)

    def _create(self, act: Act) -> None:
        s, name = self.s, (act.attempt, act.origin, act.link)
        there = s.box(self.dm, *name)
        if there:
            start = model_mutants.planted == "409-start"
            return self.to("create: 409", act.at("start", (there.by,)) if start else act.at("look"))
        two_threads = len(self.bound.slots) != len(self.bound.nodes)
        by = 10 * act.delivery + self.slot + 1 if two_threads else act.delivery  # an id of its own
        daemons = swap(s.daemons, self.dm, None, Box(*name, by, "created"))
        if not s.volume(self.dm, *name[:2]):  # Docker makes it, without our label
            daemons = swap(daemons, self.dm, None, Volume(*name[:2], AUTO))
        self._refuse_create(act, daemons)
        unconfirmed = "start" if model_mutants.planted == "no-confirm" else "confirm"
        then = act.at("check" if act.link else unconfirmed, (by,))
        return self.to(f"CREATES {name} by {by}", then, daemons=daemons)

    def _refuse_create(self, act: Act, made: tuple[Daemon, ...]) -> None:
        """Answer a create by an error, although the daemon may have made the container."""
        if self.may_fault("refuse"):
            spent = {"faults": self.s.faults - 1, "soft": self.s.soft + 1}
            then = act.at("give back", ("refused",))
            self.to("create: REFUSED", then, **spent)
            self.to("create: REFUSED, but made", then, daemons=made, **spent)

    def _check(self, act: Act) -> None:
        """Check the volume after create, when nobody can remove it any more."""
        volume = self.s.volume(self.dm, act.attempt, act.origin)
        if volume and volume.kind == AUTO and model_mutants.planted != "no-volume-check":
            return self.to("finds the former links' volume gone", act.at("undo", (*act.known, 1)))
        then = "start" if model_mutants.planted == "no-confirm" else "confirm"
        return self.to("finds the volume there", act.at(then, act.known))

    def _confirm(self, act: Act) -> None:
        s, row, (state, by) = self.s, self.row, self.s.links[act.link]
        before = act.link == 0 or s.links[act.link - 1][0] == "ENDED" or model_mutants.planted == "link-prev"
        ok = state != "ENDED" and holds(
            "confirm",
            state=row.state == "RUNNING",
            attempt=act.attempt == row.attempt,
            delivery=act.delivery == row.delivery,
            owner=not s.lapsed(),
            once=born(by) < act.delivery,
            prev=before,
        )
        if not ok:
            return self.to("confirm refused", act.at("undo", act.known))
        mine = row.node in (self.node, -self.dm) or model_mutants.planted == "link-node"
        bad = row.state != "RUNNING" or not mine
        return self.to(
            f"CONFIRMS link {act.link} by {act.known[0]}",
            act.at("start", act.known),
            "I2 a fenced writer changed a row (confirm)" if bad else "",
            links=put(s.links, act.link, ("CONFIRMED", act.known[0])),
        )

    def _undo(self, act: Act) -> None:
        """Remove without force what this thread created."""
        box = self.s.box(self.dm, act.attempt, act.origin, act.link, act.known[0])
        then = act.at("give back") if len(act.known) == 2 else ()
        self.remove(None if box and box.state == "running" else box, then, act)

    def _give_back(self, act: Act) -> None:
        """Give the task back: a new delivery, no retry."""
        state, token = self.row.state == "RUNNING", act[1:3] == self.row.token
        if not holds("give-back", state=state, token=token) or self.row.node == 0:
            return self.to("give back refused", ())
        error = "" if state and token else "I2 a fenced writer changed a row (give back)"
        if act.known == ("leaves",) and self._has_work(self.dm):
            error = error or "I7 a leaving worker threw away work that a node could have adopted"
        row = hand_over(self.bound, self.s, False, state="PENDING", node=0)[0]
        if act.known == ("refused",):
            row, error = self._charged(row), error or self._refusal_error(act)
        return self.to(f"GIVES THE CHAIN BACK -> {row.state} {row.token}", (), error, row=row)

    def _charged(self, row: Row) -> Row:
        """Return the row that is given back because of its machine: due after a delay, or FAILED."""
        count = self.row.refusals + 1
        if count >= self.bound.max_refusals and model_mutants.planted != "refused-no-bound":
            return self.row._replace(state="FAILED", refusals=count)
        if model_mutants.planted == "refused-uses-retry":
            row = row._replace(attempt=row.attempt + 1, delivery=1)
        return row._replace(state="RETRYING", refusals=count)

    def _refusal_error(self, act: Act) -> str:
        box = self.s.box(self.dm, act.attempt, act.origin, act.link)
        if box and (box.state == "running" or box.exited):
            return "I7 a link that began was given back"
        if model_mutants.planted == "refused-uses-retry":
            return "I6 a machine used up the owner's retry"
        return ""

    def _start(self, act: Act) -> None:
        """Start by id, without a precondition, as Docker does: an exited container runs again."""
        by_id = () if model_mutants.planted == "start-by-name" else act.known[:1]
        box = self.s.box(self.dm, act.attempt, act.origin, act.link, *by_id)
        if box is None or box.state == "unstartable":
            failed = model_mutants.planted == "gone-is-failed"
            then = act.at("finish", (act.known[0], 1)) if failed else ()
            return self.to("start: 404 or unstartable, drops", then)
        if box.state == "running":
            return self.to("start: 304, runs already", act.at("wait", (box.by,)))
        daemons = swap(self.s.daemons, self.dm, box, box._replace(state="running"))
        self._refuse_start(act, box, daemons)
        then = act.at("wait", (box.by,))
        return self.to(f"STARTS {tuple(box)}", then, self._start_error(act, box), daemons=daemons)

    def _refuse_start(self, act: Act, box: Box, started: tuple[Daemon, ...]) -> None:
        """Answer a start by an error, although the daemon may have started the container."""
        if not self.may_fault("refuse"):
            return
        spent = {"faults": self.s.faults - 1, "soft": self.s.soft + 1}
        blind = {
            "refused-unlooked": act.at("give back", ("refused",)),
            "refused-force": act.at("unmake", (*act.known, 1)),
        }
        then = blind.get(model_mutants.planted, act.at("refused", act.known))
        self.to("start: REFUSED", then, **spent)
        self.to(f"start: REFUSED, but {tuple(box)} runs", then, daemons=started, **spent)

    def _refused(self, act: Act) -> None:
        """Look at the container whose start was refused: one that began is followed."""
        box = self.s.box(self.dm, act.attempt, act.origin, act.link, act.known[0])
        if box is None or box.state == "unstartable":
            return self.to("looks after a refused start: gone or unstartable, drops", ())
        if box.state == "created":
            return self.to("looks after a refused start: created", act.at("unmake", act.known))
        return self.to(f"looks after a refused start: {box.state}", act.at("wait", (box.by,)))

    def _unmake(self, act: Act) -> None:
        """Remove, without force, what could not be started, and give the task back if it is gone."""
        box = self.s.box(self.dm, act.attempt, act.origin, act.link, act.known[0])
        by_force = len(act.known) == 2
        if box is None or (box.state == "running" and not by_force):
            return self.to("cannot remove what was refused: drops", ())
        return self.remove(box, act.at("give back", ("refused",)), act)

    def _start_error(self, act: Act, box: Box) -> str:
        row = self.row
        if box.exited:
            return "I3 an ended container was started again"
        current = (row.state, row.attempt, row.origin) == ("RUNNING", act.attempt, act.origin)
        named = self.s.links[act.link] == ("CONFIRMED", box.by) or model_mutants.planted == "no-confirm"
        if current and not named:
            return "I4 a container was started that the row does not name"
        boxes = self.s.daemons[self.dm - 1].boxes
        if any(e.attempt < act.attempt and e.state == "running" for e in boxes):
            return "I3 started while a former attempt's container runs on the same daemon"
        return ""

    def _wait(self, act: Act) -> None:
        s = self.s
        box = s.box(self.dm, act.attempt, act.origin, act.link, act.known[0])
        if self.row.node != self.node:
            self.to("detaches", ())
        if box is None:
            failed = model_mutants.planted == "gone-is-failed"
            self.to("wait: 404, drops", act.at("finish", (act.known[0], 1)) if failed else ())
        elif box.exited:
            then, error, daemons = act.at("finish", (act.known[0], int(box.state))), "", s.daemons
            if model_mutants.planted == "remove-first":
                error = removal_error(self.bound, s, self.dm, box, act)
                daemons = swap(daemons, self.dm, box)
            self.to(f"wait: exit {box.state}", then, error, daemons=daemons)

    def _finish(self, act: Act) -> None:
        """End the link; the last link, or a failed one, ends the attempt in the same transaction."""
        s, row, (by, code) = self.s, self.row, act.known
        state, named = s.links[act.link]
        bare = model_mutants.planted == "no-confirm" and state != "ENDED"
        any_token = model_mutants.planted == "finish-token"
        ok = holds(
            "finish",
            state=row.state == "RUNNING",
            attempt=act.attempt == row.attempt or any_token,
            delivery=act.delivery == row.delivery or any_token,
            cid=named == by or bare,
            link_state=state != "ENDED",
        )
        if not ok or (state == "WAITING" and not bare and model_mutants.planted != "finish-cid"):
            late = model_mutants.planted == "late-clean"
            return self.to("finish refused", act.at("clean") if late else ())
        error = self._finish_error(act, bare)
        links, clean = put(s.links, act.link, ("ENDED", by)), act.at("clean") if self.bound.clean else ()
        if code == 0 and act.link + 1 < self.bound.links:
            return self.to(f"FINISHES link {act.link}", act.at("send"), error, links=links)
        if code == 0:
            done = row._replace(state="COMPLETED")
            return self.to("FINISHES: task COMPLETED", clean, error, links=links, row=done)
        after = ended_badly(row)
        if row.attempt > RETRIES:
            return self.to("FINISHES: task FAILED", clean, error, links=links, row=after)
        label, fresh = f"FINISHES: attempt {row.attempt} failed, a retry waits", (("WAITING", 0),)
        return self.to(label, clean, error, links=fresh * self.bound.links, row=after, quick=0)

    def _finish_error(self, act: Act, bare: bool) -> str:
        row, (by, code), (state, named) = self.row, act.known, self.s.links[act.link]
        wrong = {
            "I2 a second end was recorded": row.state in ENDED,
            "I2 a late result was applied": row.state != "RUNNING"
            or row.attempt != act.attempt
            or row.node not in (self.node, -self.dm),
            "I2 a second end of a link was recorded": state == "ENDED",
            "I4 a result of a container that the row does not name": act.origin != row.origin
            or (named != by and not bare),
            "I6 what was removed from outside was recorded as the task's failure": code
            and not self.bound.fail,
        }
        return next((words for words, so in wrong.items() if so), "")

    def _send(self, act: Act) -> None:
        """Publish the next link to its own queue, or to a dead one."""
        messages = self.s.messages
        if self.row.node > 0:
            messages = messages | {(act.attempt, act.delivery, act.link + 1, self.node)}
        self.to(f"publishes link {act.link + 1}", (), messages=messages)

    def _clean(self, act: Act) -> None:
        """Remove the run's containers, then its volume, after the commit and off the critical path."""
        run = (act.attempt, act.origin)
        box = min((b for b in self.s.daemons[self.dm - 1].boxes if b[:2] == run), default=None)
        if box:
            return self.remove(box, act)
        return self.remove(self.s.volume(self.dm, *run), ())
