"""deploy/images on a daemon of the test's own without a registry: the stand-ins it builds, keeps and removes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from engine.model.names import STANDIN
from engine.runtime.docker.client import Client
from tests.support.docker_daemon import ALPINE, BUSYBOX, ROOT, Daemon, second_daemon_possible

pytestmark = pytest.mark.skipif(
    not second_daemon_possible(), reason="a second dockerd needs root, dockerd and ip"
)


def deploy_images(host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "deploy" / "images"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "FERRYMAN_DOCKER_HOST": host},
    )


def test_stand_ins_are_built_once_labelled_and_removed(tmp_path: Path) -> None:
    with Daemon(live_restore=False) as daemon:
        client, made = Client(daemon.host), tmp_path / "made"
        first = deploy_images(
            daemon.host, BUSYBOX, ALPINE, "--cache", str(tmp_path / "cache"), "--made", str(made)
        )
        assert (first.returncode, first.stderr) == (0, "")
        assert [line.split()[:2] for line in first.stdout.splitlines()] == [
            [BUSYBOX, "stand-in"],
            [ALPINE, "stand-in"],
        ]
        assert made.read_text().split() == [BUSYBOX, ALPINE]
        assert list(client.api.inspect_image(BUSYBOX)["Config"]["Labels"]) == [STANDIN]

        second = deploy_images(daemon.host, BUSYBOX, "--made", str(made))
        assert (second.returncode, second.stdout.split()) == (0, [BUSYBOX, "present"])
        assert made.read_text() == "", "nothing was made this time"

        assert deploy_images(daemon.host, "--remove", ALPINE).stdout.split() == [ALPINE, "removed"]
        again = deploy_images(daemon.host, ALPINE, "--cache", str(tmp_path / "cache"))
        assert "from the cache" in again.stdout
        assert deploy_images(daemon.host, "--remove").returncode == 0
        assert not client.api.images()


def test_an_existing_image_is_neither_replaced_nor_removed(tmp_path: Path) -> None:
    with Daemon(live_restore=False) as daemon:
        client = Client(daemon.host)
        (tmp_path / "x").write_text("the real one")
        subprocess.run(
            ["tar", "-C", str(tmp_path), "-cf", str(tmp_path / "x.tar"), "x"], check=True, timeout=10
        )
        client.api.import_image(str(tmp_path / "x.tar"), repository="busybox", tag="1.36")
        real = client.api.inspect_image(BUSYBOX)["Id"]
        assert deploy_images(daemon.host, BUSYBOX).stdout.split() == [BUSYBOX, "present"]
        assert deploy_images(daemon.host, "--remove").returncode == 0
        assert client.api.inspect_image(BUSYBOX)["Id"] == real
        client.api.remove_image(BUSYBOX)


def test_a_missing_daemon_is_reported_with_a_remedy(tmp_path: Path) -> None:
    done = deploy_images(f"unix://{tmp_path}/d.sock", BUSYBOX)
    assert done.returncode == 2
    assert "is the daemon running, and may this user use it?" in done.stderr


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = deploy_images(f"unix://{tmp_path}/d.sock", "debian:12")
    assert done.returncode == 2
    assert BUSYBOX in done.stderr
