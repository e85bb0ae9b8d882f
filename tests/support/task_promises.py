"""Promises, checked on the rows of one task after all faults; broken ones are reported in words.

Each container writes lines of the form `<short id of the container> <name of the link> <n>`, n from 1, so a line
names its writer. A result begins with the short id of the container that wrote it. `tests/chaos/soak.py` submits
such tasks.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from engine.model import names
from engine.model.records import Attempt, Event, Link, Task
from engine.model.states import TRANSITIONS, JobState, LinkState, TaskState
from engine.runtime.base import Resource
from engine.store import attempts, jobs, links, logs, tasks
from engine.store.database import Connection
from tests.support.fleet import Fleet

#: Docker's short id, which is also the host name inside.
SHORT = 12
_LINE = re.compile(r"(\w{12}) ([\w-]+) (\d+)\n")
_CHUNKS = 100_000


@dataclass(frozen=True)
class Expected:
    """Expected end of a task, whatever happened meanwhile."""

    state: TaskState
    #: Numbers of the attempt that may end it: one, but where somebody removed what an attempt had done.
    attempts: frozenset[int]
    #: Link's name -> lines that each of its containers says; None: killed by us in the middle.
    lines: Mapping[str, int | None]
    #: The exit code of attempts that fail on purpose; None: any that is not 0.
    code: int | None = None
    #: Names of `always` posts, which run in an attempt that failed too.
    always: tuple[str, ...] = ()
    #: Somebody asked for its cancel; True: and was told that it is.
    may_be_cancelled: bool = False
    is_cancelled: bool = False


@dataclass
class Story:
    """Rows of one task, all of them."""

    task: Task
    job_state: JobState
    attempts: Sequence[Attempt]
    links: Sequence[Link]
    events: Sequence[Event]
    #: (attempt, origin, link's index) of each frame of standard output, with its text.
    frames: Sequence[tuple[tuple[int, int, int], str]]
    #: Short ids of containers that somebody removed by hand: what they said last is lost.
    removed: Collection[str] = field(default_factory=frozenset)

    @property
    def last_run(self) -> list[Link]:
        """Return the links of the run that ended the task, in order."""
        run = (self.task.attempt, self.task.origin)
        return [link for link in self.links if (link.attempt, link.origin) == run]

    def told(self) -> str:
        """Return the events as lines, for whoever must find out what happened."""
        rows = [
            f"    {e.time / 1000:.2f} {e.kind} {e.attempt},{e.delivery} {e.from_state}->{e.to_state}"
            f" {(e.node or '')[:8]} {e.reason or ''}"
            for e in self.events
        ]
        return "\n".join([f"  {self.task.name} {self.task.id} {self.task.state}: {self.task.error}", *rows])


def story_of(fleet: Fleet, task_id: str, removed: Collection[str] = frozenset()) -> Story:
    """Read all rows of a task."""
    with fleet.db.read() as c:
        task = tasks.get(c, task_id)
        assert task is not None, f"task {task_id} was promised and is not there"
        job = jobs.get(c, task.job_id)
        assert job is not None
        tried, ran, frames = (
            attempts.of_tasks(c, [task_id]),
            links.of_tasks(c, [task_id]),
            _frames(c, task_id),
        )
    return Story(task, job.state, tried, ran, fleet.events(task_id), frames, removed)


def _frames(c: Connection, task_id: str) -> list[tuple[tuple[int, int, int], str]]:
    return [
        ((chunk.attempt, chunk.origin, chunk.link), text)
        for chunk in logs.chunks(c, task_id, limit=_CHUNKS)
        for stream, _, text in chunk.frames
        if stream == 1
    ]


def broken(story: Story, expected: Expected) -> list[str]:
    """Return the promises that this task breaks, in words; empty: none."""
    if not story.task.state.ended:
        return [f"it has not ended: {story.task.state}, attempt {story.task.attempt}"]
    return [
        *_not_as_expected(story, expected),
        *_ends(story),
        *_attempts(story, expected),
        *_result(story),
        *_order(story, expected),
        *_log(story, expected),
    ]


def _not_as_expected(story: Story, expected: Expected) -> list[str]:
    task, found = story.task, []
    if task.state is TaskState.CANCELLED:
        if not expected.may_be_cancelled:
            found.append("it is CANCELLED and nobody asked for that")
        if task.attempt > max(expected.attempts):
            found.append(f"attempt {task.attempt}, at most {max(expected.attempts)} was to come")
    elif expected.is_cancelled:
        found.append(f"its cancel was confirmed, and it is {task.state}")
    elif (task.state, task.attempt in expected.attempts) != (expected.state, True):
        wanted = f"{expected.state} at attempt {' or '.join(map(str, sorted(expected.attempts)))}"
        found.append(f"{task.state} at attempt {task.attempt}, not {wanted}: {task.error}")
    if str(story.job_state) != str(task.state):
        found.append(f"its job is {story.job_state}, it is {task.state}")
    return found


def _ends(story: Story) -> list[str]:
    """Check for one recorded end of each attempt, and only transitions of the table."""
    ends: Counter[int | None] = Counter()
    found = []
    for e in story.events:
        if e.kind not in ("task", "repair") or e.from_state is None or e.to_state is None:
            continue
        before, after = TaskState(e.from_state), TaskState(e.to_state)
        if (before, after) not in TRANSITIONS:
            found.append(f"it went from {before} to {after}")
        if e.kind == "task" and (after.ended or (before, after) == (TaskState.RUNNING, TaskState.PENDING)):
            ends[e.attempt] += 1
    wanted = {number: 1 for number in range(1, story.task.attempt + 1)}
    if dict(ends) != wanted:
        found.append(f"ends by attempt: {dict(ends)}, one each was to be")
    if open_ones := [a.attempt for a in story.attempts if not a.state.ended]:
        found.append(f"attempts {open_ones} have no end")
    return found


def _attempts(story: Story, expected: Expected) -> list[str]:
    """Check that each retry was caused by a container that failed by itself, or by the time-out, never by a crash."""
    found = []
    # The time may be over while no node has the task: then no container has an exit code.
    timed_out = {e.attempt for e in story.events if (e.reason or "").startswith("timed out after")}
    for number in range(1, story.task.attempt):
        if number in timed_out:
            continue
        codes = [
            link.exit_code
            for link in story.links
            if link.attempt == number and link.state is LinkState.ENDED and link.exit_code != 0
        ]
        if not codes or (expected.code is not None and expected.code not in codes):
            found.append(f"attempt {number} was used up by no failure of its own: exit codes {codes}")
    return found


def _result(story: Story) -> list[str]:
    """Check that the result is from the containers that the rows name: main's id, then those of the pres."""
    if story.task.state is not TaskState.COMPLETED:
        return []
    named = [
        (link.container_id or "")[:SHORT]
        for kind in ("main", "pre")
        for link in story.last_run
        if link.kind == kind
    ]
    said = (story.task.result or "").split()
    return [] if said == named else [f"its result is {said}, its rows name {named}"]


def _order(story: Story, expected: Expected) -> list[str]:
    """Check that each link began after the one before it ended, and that a chain that went well ran to its end."""
    found, last_end = [], 0
    for link in story.last_run:
        if link.state is not LinkState.ENDED or link.started_at is None or link.ended_at is None:
            continue
        if link.started_at < last_end:
            found.append(
                f"link {link.name} began {last_end - link.started_at} ms before the one before it ended"
            )
        last_end = link.ended_at
    states = {link.name: (link.state, link.exit_code) for link in story.last_run}
    well = (LinkState.ENDED, 0)
    if story.task.state is TaskState.COMPLETED and set(states.values()) != {well}:
        found.append(f"COMPLETED with links {states}")
    if story.task.state is TaskState.FAILED:
        found += [f"the always post {name} did not run" for name in expected.always if states[name] != well]
    return found


def _log(story: Story, expected: Expected) -> list[str]:
    """Check for each line of each container once and in order, and for all lines where it ended by itself."""
    said: dict[str, list[int]] = defaultdict(list)
    places: dict[str, set[tuple[int, int, int]]] = defaultdict(set)
    found = []
    for place, text in story.frames:
        line = _LINE.fullmatch(text)
        if line is None:
            found.append(f"a line that no container said whole: {text!r}")
            continue
        said[line[1]].append(int(line[3]))
        places[line[1]].add(place)
    for host, numbers in said.items():
        if numbers != list(range(1, len(numbers) + 1)):
            found.append(f"container {host} said 1, 2, 3 …, its log has {_short(numbers)}")
        if len(places[host]) > 1:
            found.append(f"container {host} wrote into the logs of {sorted(places[host])}")
    for link in story.links:
        host = (link.container_id or "")[:SHORT]
        wanted = expected.lines.get(link.name)
        by_itself = link.state is LinkState.ENDED and link.exit_code in (0, expected.code or 0)
        if (
            by_itself
            and host
            and wanted is not None
            and host not in story.removed
            and len(said[host]) != wanted
        ):
            found.append(f"{link.name} in {host} said {wanted} lines, {len(said[host])} are in its log")
    return found


def _short(numbers: Sequence[int]) -> str:
    wrong = next(i for i, n in enumerate(numbers, 1) if n != i)
    around = numbers[max(0, wrong - 4) : wrong + 4]
    return f"… {', '.join(map(str, around))} … ({len(numbers)} lines)"


def doubled(things: Sequence[Resource]) -> list[str]:
    """Return the links of which two containers run at once, by one list of the daemon."""
    running = Counter(
        (one.run and one.run.task_id, one.index)
        for one in things
        if one.kind == "container" and one.state == "running"
    )
    return [
        f"{n} containers of link {index} of {id} run at once" for (id, index), n in running.items() if n > 1
    ]


def left_over(fleet: Fleet) -> list[str]:
    """Return what still exists of this installation: containers, volumes, probe images, work directories."""
    client = fleet.runtime().client.api  # the label is asked, not what the product makes of it
    wanted = {"label": f"{names.INSTALLATION}={fleet.installation.id}"}
    things = client.containers(all=True, filters=wanted)
    sandboxes = {c["Names"][0][1:]: c["Labels"][names.NODE] for c in things if names.NODE in c["Labels"]}
    kept = fleet.kept_ready(sandboxes)
    found = [f"container {c['Names'][0]} {c['State']}" for c in things if c["Names"][0][1:] not in kept]
    found += [f"volume {v['Name']}" for v in client.volumes(filters=wanted)["Volumes"] or ()]
    found += [f"image {', '.join(i['RepoTags'])}" for i in client.images(filters=wanted)]
    work = fleet.settings.path / "work"
    return found + [f"directory {path.name}" for path in sorted(work.glob("*"))]
