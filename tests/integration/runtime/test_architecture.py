"""Programs for another processor: the error names both, whether the image has a shell or not."""

from __future__ import annotations

import io
import tarfile
import uuid
from collections.abc import Callable, Iterator

import pytest

from engine.runtime.base import Cause, Order
from engine.runtime.docker.client import Client
from engine.runtime.docker.files import tar_of
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import BUSYBOX, run

Orders = Callable[..., Order]
#: The machine number of arm64, or of amd64 where arm64 is the host's own.
_FOREIGN = {"amd64": ("arm64", 0xB7), "arm64": ("amd64", 0x3E)}


def _busybox(docker: Client) -> bytes:
    """Return the program of the image."""
    id = docker.api.create_container_from_config({"Image": BUSYBOX, "Cmd": ["true"]})["Id"]
    try:
        pieces, _ = docker.api.get_archive(id, "/bin/busybox")
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            member = tar.getmembers()[0]
            file = tar.extractfile(member)
            assert file is not None
            return file.read()
    finally:
        docker.api.remove_container(id)


@pytest.fixture(params=[True, False], ids=["with a shell", "without a shell"])
def image(docker: Client, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Yield an image whose /app is a program for another processor, and that processor."""
    program, (foreign, number) = _busybox(docker), _FOREIGN[docker.api.version()["Arch"]]
    entries: dict[str, tuple[bytes | None, int]] = {
        "/app": (program[:18] + bytes([number]) + program[19:4096], 0o755),
        "/opt/link": (program[:18] + bytes([number]) + program[19:4096], 0o755),
    }
    if request.param:
        entries["/bin/sh"] = (program, 0o755)
    name = f"ferryman-foreign-{uuid.uuid4().hex[:8]}"
    docker.api.import_image_from_data(
        tar_of(entries), repository=name, tag="1", changes=['CMD ["/app"]', "ENV PATH=/bin:/opt"]
    )
    yield f"{name}:1", foreign
    docker.api.remove_image(f"{name}:1", force=True)


@pytest.mark.parametrize("values", [{}, {"cmd": ("link",)}, {"init": False}], ids=["CMD", "PATH", "no init"])
def test_a_program_for_another_processor_is_named_with_both(
    runtime: DockerRuntime, order: Orders, docker: Client, image: tuple[str, str], values: dict[str, object]
) -> None:
    name, foreign = image
    outcome = run(runtime, order(image=name, **values))
    assert outcome.cause is Cause.NOT_STARTED and outcome.exit_code != 0
    program = "link" if values.get("cmd") else "/app"
    host = docker.api.version()["Arch"]
    assert outcome.message == (
        f"exec format error: '{program}' is a program for {foreign}, and this worker's host is {host}"
    )


@pytest.mark.parametrize("code", [2, 126, 127])
def test_a_program_for_this_processor_ends_with_its_own_code(
    runtime: DockerRuntime, order: Orders, code: int
) -> None:
    outcome = run(runtime, order(run=f"exit {code}"))
    assert (outcome.exit_code, outcome.cause) == (code, Cause.EXITED)
