"""Task whose container runs until a test releases it, so that no test depends on the length of a sleep."""

from __future__ import annotations

import docker


def held_task(name: str = "held", queue: str = "default") -> str:
    """Return a task of one link that prints `begun`, runs until it is released, prints `released`, and completes."""
    loop = "echo begun; until [ -e /go ]; do sleep 0.1; done; echo released"
    return f"name: {name}\nqueue: {queue}\nimage: busybox:1.36\nrun: '{loop}'\nretry: {{limit: 0}}\n"


def release(container_id: str) -> None:
    """Create the file that the container waits for, so that it ends."""
    client = docker.from_env(timeout=60)
    try:
        assert client.containers.get(container_id).exec_run(["touch", "/go"]).exit_code == 0
    finally:
        client.close()
