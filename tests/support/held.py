"""A task whose container runs until a test lets it go: no length of a sleep decides what a test sees."""

from __future__ import annotations

import docker


def held(name: str = "held", queue: str = "default") -> str:
    """A task of one link that says `begun`, runs until it is let go, says `let go`, and ends well."""
    loop = "echo begun; until [ -e /go ]; do sleep 0.1; done; echo let go"
    return f"name: {name}\nqueue: {queue}\nimage: busybox:1.36\nrun: '{loop}'\nretry: {{limit: 0}}\n"


def let_go(container_id: str) -> None:
    """Let the container end: the file that it waits for is made in it."""
    client = docker.from_env(timeout=60)
    try:
        assert client.containers.get(container_id).exec_run(["touch", "/go"]).exit_code == 0
    finally:
        client.close()
