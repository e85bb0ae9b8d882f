"""Files in examples/: each is a valid task and shows the feature in its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.jobspec.schema import check
from engine.jobspec.task import HostAccess, TaskSpec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))
#: Images that have a stand-in in deploy/images.
IMAGES = {"busybox:1.36", "alpine:3.18.3", "ubuntu:mantic", "jrottenberg/ffmpeg:3.4-scratch"}

SHOWS: dict[str, Callable[[TaskSpec], object]] = {
    "hello": lambda task: task.main.cmd == ("echo", "-n", "hello world"),
    "convert": lambda task: task.pre and task.post and task.volumes,
    "retry": lambda task: task.retry.limit,
    "always-post": lambda task: [link.always for link in task.post] == [False, True],
    "files": lambda task: task.main.files,
    "output-file": lambda task: "$FERRYMAN_OUTPUT" in (task.main.run or ""),
    "limits": lambda task: task.limits.cpus and task.limits.memory and task.timeout,
    "queue": lambda task: task.queue and task.priority,
    "volumes": lambda task: task.volumes and task.pre and task.post,
    "script": lambda task: (task.main.run or "").startswith("#!"),
}


def read(path: Path) -> TaskSpec:
    return check(path.read_bytes(), "yaml", HostAccess())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_uses_images_with_a_stand_in(path: Path) -> None:
    assert {link.image for _, link in read(path).links} <= IMAGES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_short_and_shows_the_feature_in_its_name(path: Path) -> None:
    assert SHOWS[path.stem](read(path))
    assert len(path.read_text().splitlines()) <= 25


def test_every_feature_has_its_file() -> None:
    assert {path.stem for path in FILES} == set(SHOWS)
