"""Findings of `ferryman doctor` about the Docker daemon's security options and the host paths that tasks may mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.doctor import check_binds, open_directory, user_namespaces
from engine.settings import Settings
from tests.support.docker_daemon import require_docker


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["name=seccomp,profile=default", "name=userns"], "ok"),
        (["name=seccomp,profile=default", "name=rootless"], "ok"),
        (["name=seccomp,profile=userns"], "warn"),
        ([], "warn"),
    ],
)
def test_doctor_warns_without_user_namespaces_and_says_what_to_do(options: list[str], status: str) -> None:
    finding = user_namespaces(options)
    assert (finding.status, finding.check) == (status, "userns")
    assert bool(finding.remedy) == (status == "warn")


@pytest.mark.docker
def test_doctor_names_bind_sources_that_a_worker_would_refuse(tmp_path: Path) -> None:
    require_docker()
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    listed = (f"{tmp_path}/kept:rw", f"{tmp_path}/link", f"{tmp_path}/absent")
    settings = Settings.from_env({}, data_dir=str(tmp_path / "data")).replace(bind_sources=listed)
    (tmp_path / "data").mkdir()
    refused, absent = check_binds(settings)
    assert (refused.status, absent.status) == ("warn", "warn")
    assert "never shared" in refused.message
    assert "cannot be looked at (No such file or directory)" in absent.message


@pytest.mark.parametrize(("mode", "count"), [(0o710, 0), (0o700, 0), (0o711, 1), (0o755, 1)])
def test_doctor_warns_when_every_account_can_enter_the_directory_of_docker(
    tmp_path: Path, mode: int, count: int
) -> None:
    root = tmp_path / "docker"
    root.mkdir()
    root.chmod(mode)
    findings = list(open_directory(str(root)))
    assert [finding.status for finding in findings] == ["warn"] * count
    assert list(open_directory(str(root / "absent"))) == []
