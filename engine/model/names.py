"""Names and labels of containers, volumes and sandboxes: pure functions of ids, so names are known before creation.

A name contains the installation, task, attempt, origin and link, so no name is used for two runs: a container that was
removed cannot come back under its name (see docs/protocol.rst).
"""

from __future__ import annotations

from engine.model.records import RunKey

LABEL = "ferryman."
INSTALLATION = "ferryman.installation"
#: container, volume, sandbox or probe.
KIND = "ferryman.kind"
JOB = "ferryman.job"
TASK = "ferryman.task"
ATTEMPT = "ferryman.attempt"
ORIGIN = "ferryman.origin"
LINK = "ferryman.link"
#: Node that created a sandbox; a sandbox has no task label, because labels cannot change and its task is unknown.
NODE = "ferryman.node"
#: Delivery that created the container: an adopter never starts what an older delivery created (docs/protocol.rst).
DELIVERY = "ferryman.delivery"
#: Label of images that `deploy/images` built in place of the real ones.
STANDIN = "ferryman.standin"


def container(installation: str, run: RunKey, index: int) -> str:
    """Return the name of a link's container."""
    return f"ferryman-{installation}-{run.task_id}-{run.attempt}-{run.origin}-{index}"


def volume(installation: str, run: RunKey, number: int) -> str:
    """Return the name of a volume of a run; `number` counts from 0."""
    return f"ferryman-{installation}-{run.task_id}-{run.attempt}-{run.origin}-v{number}"


def sandbox(installation: str, node_id: str, number: int) -> str:
    """Return the name of a node's sandbox. Node ids are never used again, so neither is the name."""
    return f"ferryman-{installation}-net-{node_id}-{number}"


def run_labels(installation: str, job_id: str, run: RunKey) -> dict[str, str]:
    """Return the labels of all containers and volumes of a run."""
    return {
        INSTALLATION: installation,
        JOB: job_id,
        TASK: run.task_id,
        ATTEMPT: str(run.attempt),
        ORIGIN: str(run.origin),
    }


def node_queue(node_id: str) -> str:
    """Return the queue that only this node serves, for the later links of the tasks that it claimed."""
    return f"!{node_id}"
