"""Checks of the promises at the end of a soak, and their report."""

from __future__ import annotations

import statistics
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from engine.model.records import Event
from engine.model.states import TaskState
from tests.chaos.soaking.ground import Ground
from tests.chaos.soaking.plans import Plan, after_removals
from tests.chaos.soaking.soak_faults import Faults, Hit
from tests.chaos.soaking.submitting import Submitter, stored
from tests.support.fleet import ROOT
from tests.support.task_promises import Expected, Story, broken, left_over, story_of

#: First words of a repair event -> its name in the report.
REPAIRS = {
    "adopted": "adopted",
    "started again": "started again",
    "retaken": "retaken",
    "given back": "given back",
    "continues without a sandbox": "continued without a sandbox",
}
#: Exit codes of processes that gave up a lost store or broker, or a deaf consumer: a supervisor restarts them.
#: 3 is gunicorn's own: its worker found no store when it was started.
_MAY_LEAVE = (0, 3, 70, 75, 78)


@dataclass(frozen=True)
class Recovery:
    """Time from a kill to the next event of a task that it hit."""

    seconds: float
    hit: Hit
    task: str
    then: str


@dataclass
class Verdict:
    """Figures and broken promises of one soak."""

    stories: list[Story]
    broken: list[str] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Return True when no promise is broken."""
        return not self.broken and not self.left_over


def ask(ground: Ground, submitter: Submitter, faults: Faults, wrong: Sequence[str]) -> Verdict:
    """Check every promise for every stored task."""
    names = stored(ground)
    verdict = Verdict([story_of(ground.fleet, id, ground.removed) for id in names])
    verdict.broken += [*wrong, *submitter.wrong]
    verdict.broken += [
        f"{name} was promised as {id} and is not stored" for id, name in _lost(submitter, names)
    ]
    if doubled := [name for name, n in Counter(names.values()).items() if n > 1]:
        verdict.broken.append(f"submitted once, stored twice: {doubled}")
    for story in verdict.stories:
        plan = submitter.plans[story.task.name]
        if found := broken(story, _expected(plan, story.task.id, submitter, ground)):
            reasons = "; ".join(found)
            verdict.broken.append(f"{plan.name} ({plan.kind}): {reasons}\n{story.told()}")
    for part in ground.parts:
        if codes := [code for code, _ in part.left if code not in _MAY_LEAVE]:
            verdict.broken.append(f"{part.name} left by itself with {codes}: see its log")
    verdict.recoveries = _recoveries(verdict.stories, faults.hits)
    verdict.left_over = left_over(ground.fleet)
    return verdict


def _lost(submitter: Submitter, names: dict[str, str]) -> list[tuple[str, str]]:
    return [(id, name) for id, name in submitter.promised.items() if id not in names]


def _expected(plan: Plan, task_id: str, submitter: Submitter, ground: Ground) -> Expected:
    expected = after_removals(plan.expected, plan.kind) if task_id in ground.bereft else plan.expected
    asked = submitter.cancels
    return replace(expected, may_be_cancelled=task_id in asked, is_cancelled=bool(asked.get(task_id)))


def _recoveries(stories: Sequence[Story], hits: Sequence[Hit]) -> list[Recovery]:
    found, by_id = [], {story.task.id: story for story in stories}
    for hit in hits:
        for id in hit.task_ids:
            story = by_id[id]
            event = next((e for e in story.events if e.time >= hit.at_ms and e.kind != "late"), None)
            if event is not None:
                found.append(Recovery((event.time - hit.at_ms) / 1000, hit, story.task.name, _words(event)))
    return sorted(found, key=lambda one: -one.seconds)


def _words(event: Event) -> str:
    return event.reason or f"{event.from_state} -> {event.to_state}"


def tell(verdict: Verdict, submitter: Submitter, faults: Faults, ground: Ground) -> None:
    """Print the figures, then the broken promises."""
    stories = verdict.stories
    ended = Counter(str(story.task.state) for story in stories)
    events = [e for story in stories for e in story.events]
    said = Counter(
        name
        for e in events
        if e.kind == "repair"
        for words, name in REPAIRS.items()
        if _words(e).startswith(words)
    )
    resent = sum(e.kind == "repair" and e.from_state == TaskState.SCHEDULED for e in events)
    hits = [f"{kind} {n}" for kind, n in faults.done.most_common()]
    answers = ", ".join(f"{n} of {what}" for what, n in submitter.answers.most_common())
    row("submitted", f"{len(stories)} stored, {len(submitter.promised)} promised (answers: {answers})")
    row("ended", ", ".join(f"{state} {n}" for state, n in ended.most_common()))
    row("links", f"{sum(len(story.links) for story in stories)} run or skipped, {len(events)} events")
    row("failures", f"{sum(s.task.attempt - 1 for s in stories)} retries, each after a failure of its own")
    used = sum("used up" in words for words in verdict.broken)
    row("crashes", f"{_crashes(events)} hand-overs from lapsed nodes, retries that they used: {used}")
    row("repairs", ", ".join(f"{n} {name}" for name, n in said.most_common()) + f", {resent} sent again")
    row("late ends", f"{sum(e.kind == 'late' for e in events)}, none applied")
    row("faults", f"{sum(faults.done.values())}: {', '.join(hits)}")
    row(
        "left alone",
        ", ".join(f"{p.name} {[c for c, _ in p.left]}" for p in ground.parts if p.left) or "nobody",
    )
    if verdict.recoveries:
        longest, all_seconds = verdict.recoveries[0], [one.seconds for one in verdict.recoveries]
        row(
            "recovery",
            f"longest {longest.seconds:.1f} s ({longest.hit.kind}, {longest.task}: {longest.then}),"
            f" median {statistics.median(all_seconds):.1f} s of {len(all_seconds)}",
        )
    if silences := [(_silence(story), story.task.name) for story in stories]:
        seconds, name = max(silences)
        row("silence", f"at most {seconds:.0f} s between two events of a task that ran ({name})")
    row("left over", f"{len(verdict.left_over)} {', '.join(verdict.left_over)}".rstrip())
    for words in verdict.broken:
        print(f"BROKEN {words}")
    print(
        "every promise was kept" if verdict.is_kept else f"{len(verdict.broken)} promises broken", flush=True
    )


def _silence(story: Story) -> float:
    """Return the longest time between two events while a node had the task; a running container adds to it."""
    pairs = zip(story.events, story.events[1:], strict=False)
    waits = (TaskState.PENDING, TaskState.SCHEDULED)
    return max(((b.time - a.time) / 1000 for a, b in pairs if a.to_state not in waits), default=0.0)


def _crashes(events: Sequence[Event]) -> int:
    return sum(e.kind == "repair" and "LAPSED" in (e.reason or "") for e in events)


def row(name: str, text: str) -> None:
    """Print one line of the figures."""
    print(f"{name:<11} {text}", flush=True)


def commit() -> str:
    """Return the commit under test, for the figures; empty outside a checkout."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
