"""States, and the allowed transitions with the reason for each. Nothing leaves an ended state."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """States of a task; an attempt has RUNNING and the ended ones."""

    #: Waits for an earlier task to end.
    CREATED = "CREATED"
    #: Must be sent: the PENDING rows are the outbox.
    PENDING = "PENDING"
    #: A message was sent. The broker may still lose it.
    SCHEDULED = "SCHEDULED"
    #: A node owns the task.
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"

    @property
    def ended(self) -> bool:
        """Return whether the task has ended: nothing leaves the state."""
        return self in ENDED

    @property
    def waits(self) -> bool:
        """Return whether the task waits for a node that serves its queue."""
        return self in WAITING_TASKS


class JobState(StrEnum):
    """States of a job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Return whether the job has ended: nothing leaves the state."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class LinkState(StrEnum):
    """States of a link. They are never reset: each run of the chain has rows of its own."""

    WAITING = "WAITING"
    #: The row names the container, which may start from now on.
    CONFIRMED = "CONFIRMED"
    ENDED = "ENDED"
    SKIPPED = "SKIPPED"


class NodeState(StrEnum):
    """States of a node. Nothing leaves LEFT and LAPSED: a worker that comes back is a new node."""

    #: Takes over tasks, but claims none yet.
    JOINING = "JOINING"
    LIVE = "LIVE"
    #: Finishes its tasks and claims no more.
    LEAVING = "LEAVING"
    #: Ended in order.
    LEFT = "LEFT"
    #: Declared dead by others because its beat stopped.
    LAPSED = "LAPSED"

    @property
    def is_gone(self) -> bool:
        """Return whether the node has ended: other nodes may take over its tasks."""
        return self in (NodeState.LEFT, NodeState.LAPSED)

    @property
    def has_beat(self) -> bool:
        """Return whether the node raises its beat, and others watch it."""
        return not self.is_gone

    @property
    def may_adopt(self) -> bool:
        """Return whether the node may take over tasks of gone nodes; a restart waits until it has looked for them."""
        return self in (NodeState.JOINING, NodeState.LIVE)


class HoldKind(StrEnum):
    """Parts of a node's machine that may hold the node: it claims nothing until the part works again."""

    RUNTIME = "runtime"
    DATA_DIRECTORY = "data directory"
    BROKER = "broker"


ENDED = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})
# For the store's statements and for counts; everything else asks a property of the state.
WAITING_TASKS = (TaskState.PENDING, TaskState.SCHEDULED)
GONE_NODES = tuple(state for state in NodeState if state.is_gone)
BEATING_NODES = tuple(state for state in NodeState if state.has_beat)
ADOPTING_NODES = tuple(state for state in NodeState if state.may_adopt)

#: (from, to) -> the verb or reason. The store's guards allow only these; a test checks every pair.
TRANSITIONS: dict[tuple[TaskState, TaskState], str] = {
    (TaskState.CREATED, TaskState.PENDING): "advance: the task before it ended",
    (TaskState.CREATED, TaskState.SKIPPED): "advance: a task before it failed",
    (TaskState.CREATED, TaskState.CANCELLED): "cancel",
    (TaskState.PENDING, TaskState.SCHEDULED): "flush: the message is sent",
    (TaskState.PENDING, TaskState.RUNNING): "claim: the message arrived before SCHEDULED was written",
    (TaskState.PENDING, TaskState.CANCELLED): "cancel",
    (TaskState.SCHEDULED, TaskState.RUNNING): "claim",
    (TaskState.SCHEDULED, TaskState.PENDING): "resend: the message seems lost",
    (TaskState.SCHEDULED, TaskState.CANCELLED): "cancel",
    (TaskState.RUNNING, TaskState.RUNNING): "take_over, self_take_over: a new delivery",
    (TaskState.RUNNING, TaskState.PENDING): "restart, give_back, or a retry",
    (TaskState.RUNNING, TaskState.COMPLETED): "finish_link: the last link ended well",
    (
        TaskState.RUNNING,
        TaskState.FAILED,
    ): "finish_link, time-out, max_crashes, or give_back after too many refusals",
    (TaskState.RUNNING, TaskState.CANCELLED): "cancel",
}
