"""The states and the transitions that are allowed, each with its reason. Nothing leaves an ended state."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """States of a task; an attempt's are RUNNING and the ended ones."""

    #: Not reached yet: a task before it is still to end.
    CREATED = "CREATED"
    #: To be sent; PENDING is the outbox.
    PENDING = "PENDING"
    #: A message was sent: a hint, not a promise.
    SCHEDULED = "SCHEDULED"
    #: A node has it.
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"

    @property
    def ended(self) -> bool:
        """True for the four that nothing leaves."""
        return self in ENDED


class JobState(StrEnum):
    """States of a job."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """True for the three that nothing leaves."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


class LinkState(StrEnum):
    """States of a link of one run of the chain. Never reset: a new run has new rows."""

    WAITING = "WAITING"
    #: Its container exists and is the one that counts.
    CONFIRMED = "CONFIRMED"
    ENDED = "ENDED"
    SKIPPED = "SKIPPED"


class NodeState(StrEnum):
    """States of a node. Nothing leaves LEFT and LAPSED: a worker that comes back is a new node."""

    JOINING = "JOINING"
    LIVE = "LIVE"
    LEAVING = "LEAVING"
    LEFT = "LEFT"
    LAPSED = "LAPSED"

    @property
    def is_gone(self) -> bool:
        """Ended: other nodes may take over its tasks."""
        return self in (NodeState.LEFT, NodeState.LAPSED)

    @property
    def has_beat(self) -> bool:
        """Not ended: its beat is raised and watched."""
        return not self.is_gone

    @property
    def may_adopt(self) -> bool:
        """Allowed to take over tasks of nodes that are gone; a restart waits until it has looked for them."""
        return self in (NodeState.JOINING, NodeState.LIVE)


ENDED = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})
# For the store's statements; everything else asks a property of NodeState.
GONE_NODES = tuple(state for state in NodeState if state.is_gone)
BEATING_NODES = tuple(state for state in NodeState if state.has_beat)
ADOPTING_NODES = tuple(state for state in NodeState if state.may_adopt)

#: (from, to) -> why. The store's guards allow these and no others; a test walks the table.
TRANSITIONS: dict[tuple[TaskState, TaskState], str] = {
    (TaskState.CREATED, TaskState.PENDING): "advance: the task before it ended",
    (TaskState.CREATED, TaskState.SKIPPED): "advance: a task before it failed",
    (TaskState.CREATED, TaskState.CANCELLED): "cancel",
    (TaskState.PENDING, TaskState.SCHEDULED): "flush: its message is sent",
    (TaskState.PENDING, TaskState.RUNNING): "claim: the message was faster than the mark",
    (TaskState.PENDING, TaskState.CANCELLED): "cancel",
    (TaskState.SCHEDULED, TaskState.RUNNING): "claim",
    (TaskState.SCHEDULED, TaskState.PENDING): "resend: its message seems lost",
    (TaskState.SCHEDULED, TaskState.CANCELLED): "cancel",
    (TaskState.RUNNING, TaskState.RUNNING): "take_over, self_take_over: a new delivery",
    (TaskState.RUNNING, TaskState.PENDING): "restart, give_back, or a retry",
    (TaskState.RUNNING, TaskState.COMPLETED): "finish_link: the last link ended well",
    (TaskState.RUNNING, TaskState.FAILED): "finish_link, time-out, or max_crashes",
    (TaskState.RUNNING, TaskState.CANCELLED): "cancel",
}
