"""State of the model: the task's row, nodes, threads, messages, daemons; and the words of the bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
#: Nodes whose work others may take.
GONE = ("LAPSED", "LEFT")
#: Nodes that may still find something on their daemon.
LIVING = ("JOINING", "LIVE")
BEATING = ("JOINING", "LIVE", "LEAVING")
#: How often a failed attempt is tried again.
RETRIES = 1


class Row(NamedTuple):
    """Row of the task. RETRYING stands for PENDING with a notBefore in the future."""

    state: str = "NONE"
    attempt: int = 1
    #: With the attempt, the fencing token.
    delivery: int = 1
    #: The delivery in which this run of the chain was claimed; part of every name.
    origin: int = 0
    #: The owner; 0: none; -D: a former node (a dead process, a given-up id) that sat on daemon D.
    node: int = 0
    #: Hand-overs after lapses in quick succession.
    crashes: int = 0
    #: The state of that former node: LIVE or LEAVING (not yet lapsed), LAPSED, LEFT.
    gone: str = ""
    #: Times that the attempt was given back because a machine could not begin a link.
    refusals: int = 0

    @property
    def token(self) -> tuple[int, int]:
        """Token that a writer must show."""
        return self.attempt, self.delivery


class Node(NamedTuple):
    """Process and its present row."""

    alive: bool = True
    state: str = "LIVE"
    runtime_ok: bool = True
    #: looked >= the lapse number of this task's owner. Each new lapse has a higher number: it clears the bits.
    looked: bool = False


class Act(NamedTuple):
    """Next step of a thread, with what the thread knows, perhaps since long ago."""

    step: str
    attempt: int
    delivery: int
    origin: int
    link: int
    known: tuple[Any, ...] = ()

    def at(self, step: str, known: tuple[Any, ...] = ()) -> Act:
        """Return the same work at another step."""
        return self._replace(step=step, known=known)


class Box(NamedTuple):
    """Container: created, unstartable, running, or exited with 0 or 1."""

    attempt: int
    origin: int
    link: int
    #: The delivery that created it (and the thread, where a process has two): its id, and its label.
    by: int
    state: str

    @property
    def exited(self) -> bool:
        """Return whether the container ran to its end."""
        return self.state in ("0", "1")


#: What a volume is: made by Docker itself, without labels; made by us; with a link's data in it. Numbers, since
#: states are sorted, and a volume stands beside containers there.
AUTO, MADE, DATA = range(3)


class Volume(NamedTuple):
    """Volume: AUTO, MADE or DATA."""

    attempt: int
    origin: int
    kind: int


Resource = Box | Volume


class Daemon(NamedTuple):
    """Containers and volumes of a Docker daemon."""

    boxes: frozenset[Box]
    volumes: frozenset[Volume]


class State(NamedTuple):
    """State of the whole installation, with one task."""

    row: Row
    #: WAITING, CONFIRMED or ENDED, with the container's `by`.
    links: tuple[tuple[str, int], ...]
    #: (attempt, delivery, link, node or 0). Receiving does not consume: doubled, late, reordered.
    messages: frozenset[tuple[int, int, int, int]]
    #: () or the token of a flusher between its two steps.
    flush: tuple[int, ...]
    nodes: tuple[Node, ...]
    #: () or an Act, per thread.
    slots: tuple[Any, ...]
    #: Per reconciler: () or the token that it has read.
    reconcilers: tuple[tuple[int, ...], ...]
    #: Per daemon: () | "listed", thing | "dead", thing | "rows", state, attempt, origin.
    sweeps: tuple[tuple[Any, ...], ...]
    daemons: tuple[Daemon, ...]
    #: The host of daemon 1 is there.
    up: bool
    #: Docker on daemon 1 does not answer; its containers run on.
    away: bool
    #: Faults, cancels and long holds that may still happen.
    faults: int
    cancels: int
    long_holds: int
    #: Ghosts: faults that were no crash; crashes since the last long hold.
    soft: int = 0
    quick: int = 0

    def box(self, dm: int, *key: int) -> Box | None:
        """Return a container by its name (attempt, origin, link), or its id (and by)."""
        size = len(key)
        return next((box for box in self.daemons[dm - 1].boxes if box[:size] == key), None)

    def volume(self, dm: int, attempt: int, origin: int) -> Volume | None:
        """Return the volume of a run."""
        return next((v for v in self.daemons[dm - 1].volumes if v[:2] == (attempt, origin)), None)

    def owner(self) -> str:
        """Return the state of the node that the row names."""
        return self.row.gone if self.row.node <= 0 else self.nodes[self.row.node - 1].state

    def lapsed(self) -> bool:
        """Return whether the row's node is LAPSED or LEFT."""
        return self.owner() in GONE

    def first_open(self) -> int:
        """Return the first link that has not ended."""
        open_links = (k for k, link in enumerate(self.links) if link[0] != "ENDED")
        return next(open_links, len(self.links) - 1)


class Bound(NamedTuple):
    """Size of the explored world: its processes, and what may happen to them."""

    name: str
    links: int = 1
    #: The daemon of each node.
    nodes: tuple[int, ...] = (1, 1)
    #: The node of each thread.
    slots: tuple[int, ...] = (1, 2)
    faults: int = 1
    #: kill, lapse, leave, wipe, hand (removed by hand), stray (a message), docker (silent), host (gone), refuse (a
    #: create or a start is answered by an error, whether the daemon did it or not).
    kinds: tuple[str, ...] = ("kill", "lapse")
    #: Nodes that are started later.
    absent: tuple[int, ...] = ()
    long_holds: int = 0
    max_crashes: int = 2
    max_refusals: int = 2
    reconcilers: int = 1
    #: Containers may exit 1.
    fail: bool = False
    cancels: int = 0
    #: The finisher removes, too.
    clean: bool = False
    #: The sweep in three steps: list, read, remove.
    fine: bool = False
    #: Receiving consumes and nothing is sent again: is a repair needed?
    consume: bool = False
    #: The attempt's time may be over at any moment.
    timeout: bool = False
    #: A self-take-over does not wait for the message of a waiting link.
    hasty: bool = False

    def daemon_of(self, node: int) -> int:
        """Return the daemon of a node, or of a former one, for the promises only."""
        return -node if node <= 0 else self.nodes[node - 1]

    def living(self, s: State, dm: int, states: tuple[str, ...] = ("LIVE",)) -> bool:
        """Return whether a node in one of these states serves this daemon. For the promises only."""
        return any(
            d == dm and n.alive and n.state in states and n.runtime_ok
            for d, n in zip(self.nodes, s.nodes, strict=True)
        )


def put(values: tuple[Any, ...], i: int, value: object) -> tuple[Any, ...]:
    """Return the tuple with its i-th value replaced."""
    return (*values[:i], value, *values[i + 1 :])


def born(by: int) -> int:
    """Return the delivery in which a container was created, from its label."""
    return by // 10 if by > 9 else by


def swap(
    daemons: tuple[Daemon, ...], dm: int, old: Resource | None, new: Resource | None = None
) -> tuple[Daemon, ...]:
    """Replace, add or remove one container or volume of a daemon."""
    which = int(isinstance(old or new, Volume))
    things: frozenset[Any] = daemons[dm - 1][which]
    if old:
        things = things - {old}
    if new:
        things = things | {new}
    return put(daemons, dm - 1, Daemon(*put(daemons[dm - 1], which, things)))


def initial(bound: Bound) -> State:
    """Return the state before the task is submitted."""
    nodes = tuple(
        Node(False, "LAPSED") if n in bound.absent else Node() for n in range(1, len(bound.nodes) + 1)
    )
    count = max(bound.nodes)
    return State(
        row=Row(),
        links=(("WAITING", 0),) * bound.links,
        messages=frozenset(),
        flush=(),
        nodes=nodes,
        slots=((),) * len(bound.slots),
        reconcilers=((),) * bound.reconcilers,
        sweeps=((),) * count,
        daemons=(Daemon(frozenset(), frozenset()),) * count,
        up=True,
        away=False,
        faults=bound.faults,
        cancels=bound.cancels,
        long_holds=bound.long_holds,
    )
