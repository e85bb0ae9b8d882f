"""Names of containers and volumes, and their labels: pure functions of ids, so that they are known before they exist.

The installation, task, attempt, origin and link are in the name: no name is ever used for two runs
(protocol 1: what is dead stays dead).
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
#: The node that made a sandbox: labels cannot change, so it names no task.
NODE = "ferryman.node"
#: The delivery that created it: an adopter never starts what an older one created (protocol 3.2).
DELIVERY = "ferryman.delivery"
#: On images that `deploy/images` built in place of the real ones.
STANDIN = "ferryman.standin"


def container(installation: str, run: RunKey, index: int) -> str:
    """The name of a link's container."""
    return f"ferryman-{installation}-{run.task_id}-{run.attempt}-{run.origin}-{index}"


def volume(installation: str, run: RunKey, number: int) -> str:
    """The name of the number-th fresh volume of an attempt's run."""
    return f"ferryman-{installation}-{run.task_id}-{run.attempt}-{run.origin}-v{number}"


def sandbox(installation: str, node_id: str, number: int) -> str:
    """The name of the number-th sandbox that a node makes; a node's id is never used again, so neither is this."""
    return f"ferryman-{installation}-net-{node_id}-{number}"


def run_labels(installation: str, job_id: str, run: RunKey) -> dict[str, str]:
    """Labels that containers and volumes of one run share."""
    return {
        INSTALLATION: installation,
        JOB: job_id,
        TASK: run.task_id,
        ATTEMPT: str(run.attempt),
        ORIGIN: str(run.origin),
    }


def node_queue(node_id: str) -> str:
    """The queue that only this node serves: later links of what it claimed go there."""
    return f"!{node_id}"
