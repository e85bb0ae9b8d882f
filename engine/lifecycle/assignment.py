"""Assignment of a link to a node: the order for the runtime, the token, and the time that is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.jobspec import ceilings, quantities, stored
from engine.jobspec.task import LinkSpec, TaskSpec
from engine.lifecycle.installation import Installation
from engine.model import names
from engine.model.records import AttemptStatus, Link, Task, Token
from engine.model.states import LinkState
from engine.runtime.base import Order
from engine.settings import RuntimeSettings
from engine.wording.links import link_title


@dataclass(frozen=True)
class Assignment:
    """Link that a node must run under `token`."""

    token: Token
    order: Order
    #: Name of the task and title of the link, for people.
    task_name: str
    link_name: str
    #: Seconds that the link may run from now on; None: no time limit.
    seconds_left: float | None
    #: The time limit as the user wrote it, for the message.
    bound: str | None
    #: Time from when the link was due until it was taken; None: the link had begun before.
    waited_ms: int | None = None

    @property
    def waits(self) -> bool:
        """Return True when no delivery has confirmed a container of the link yet."""
        return self.waited_ms is not None

    @property
    def index(self) -> int:
        """Place of the link in the chain."""
        return self.order.index


def assign(
    installation: Installation, task: Task, links: Sequence[Link], index: int, status: AttemptStatus
) -> Assignment:
    """Return the assignment of link `index` of the task's present run, whose rows are `links`."""
    spec = stored.load(task.spec)
    kind, link_spec = spec.links[index]
    longest_seconds = installation.settings.runtime.max_timeout_seconds
    seconds, bound = _time_left(spec, link_spec, links, status.age_ms, longest_seconds)
    order = replace(_order(installation, task, spec, index), sandbox=status.sandbox)
    title = link_title(kind, link_spec.name, index)
    waited_ms = _waited_ms(task, links, index, status.now)
    return Assignment(task.token, order, task.name, title, seconds, bound, waited_ms)


def _waited_ms(task: Task, links: Sequence[Link], index: int, now: int) -> int | None:
    if links[index].state is not LinkState.WAITING:
        return None
    since = max(task.created_at, task.not_before) if index == 0 else links[index - 1].ended_at
    return max(0, now - since) if since is not None else None


def _time_left(
    spec: TaskSpec, link_spec: LinkSpec, links: Sequence[Link], age_ms: int, longest_seconds: float
) -> tuple[float | None, str | None]:
    """Return the tightest of the link's own time limit, what is left of the attempt's, and of this worker's ceiling.

    An `always` post after a failure gets the attempt's whole time limit again, to clean up after a time-out too.
    """
    failed = any(link.state is LinkState.ENDED and link.exit_code != 0 for link in links)
    bounds: list[tuple[float, str]] = []
    if link_spec.timeout_seconds is not None and link_spec.timeout:
        bounds.append((link_spec.timeout_seconds, link_spec.timeout))
    spent = 0.0 if failed else age_ms / 1000
    if spec.timeout_seconds is not None and spec.timeout:
        bounds.append((max(0.0, spec.timeout_seconds - spent), spec.timeout))
    if longest_seconds:
        words = f"{ceilings.in_go_form(longest_seconds)} (FERRYMAN_MAX_TIMEOUT_SECONDS)"
        bounds.append((max(0.0, longest_seconds - spent), words))
    return min(bounds) if bounds else (None, None)


def _order(installation: Installation, task: Task, spec: TaskSpec, index: int) -> Order:
    kind, link_spec = spec.links[index]
    targets = spec.volume_targets
    cpus, memory = _limits(spec, installation.settings.runtime)
    return Order(
        installation=installation.id,
        job_id=task.job_id,
        run=task.run,
        delivery=task.delivery,
        index=index,
        kind=kind,
        spec=link_spec,
        volumes=tuple(
            (names.volume(installation.id, task.run, n), target) for n, target in enumerate(targets)
        ),
        mounts=tuple(mount for mount in spec.mounts if mount.type != "volume"),
        networks=("none",) if spec.network == "none" else spec.networks,
        cpus=cpus,
        memory_bytes=memory,
        shm_bytes=quantities.memory_bytes(spec.shm) if spec.shm else None,
        retry_limit=spec.retry.limit,
        needs_volumes=index > 0 and bool(targets),
    )


def _limits(spec: TaskSpec, settings: RuntimeSettings) -> tuple[float | None, int | None]:
    cpus = spec.limits.cpus or settings.default_cpus
    text = spec.limits.memory or settings.default_memory
    memory = quantities.memory_bytes(text) if text else None
    if memory is not None and not spec.limits.memory and settings.max_memory:
        # A task that asks for nothing must not be refused for the default.
        memory = min(memory, quantities.memory_bytes(settings.max_memory))
    return (quantities.cpus(cpus) if cpus else None, memory)
