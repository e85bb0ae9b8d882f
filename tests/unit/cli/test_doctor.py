"""Findings of `ferryman doctor` about the Docker daemon's security options."""

from __future__ import annotations

import pytest

from engine.cli.doctor import user_namespaces


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
