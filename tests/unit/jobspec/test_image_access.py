"""Registries that tasks may name: by spelling, or by the operator's patterns."""

from __future__ import annotations

import pytest

from engine.errors import SettingsError
from engine.jobspec import schema
from engine.jobspec.host_access import host_access_from
from engine.jobspec.image_access import image_denial, image_patterns
from engine.jobspec.problems import Invalid
from engine.jobspec.task import HostAccess

LOCAL = (
    "127.0.0.1:5000/x", "127.1/x", "10.0.0.1/x", "169.254.169.254/x", "8.8.8.8/x", "0:80/x", "0.0.0.0/x",
    "2130706433:80/x", "0x7f.1/x", "0X7F.1/x", "0x7f000001:80/x", "0177.0.0.1/x", "[::1]/x", "[::1]:5000/x",
    "[fe80::1]/x", "[::ffff:127.0.0.1]/x", "localhost/x", "localhost:5000/x", "LOCALHOST/x", "Localhost:1/x",
    "a.localhost/x", "localhost.localdomain/x", "localhost6:5000/x", "localhost6.localdomain6/x",
    "ip6-localhost:80/x", "ip6-loopback:80/x",
)  # fmt: skip
NAMED = (
    "ubuntu:24.04", "team/tool", "registry.example.org/x", "registry.example.org:5000/a/b:1", "registry:5000/x",
    "localhost", "127.0.0.1", "library/127.0.0.1", "ghcr.io/x/y@sha256:" + "0" * 64, "1.example.org/x",
)  # fmt: skip


@pytest.mark.parametrize("image", LOCAL)
def test_a_registry_at_an_address_or_on_the_host_is_refused(image: str) -> None:
    assert "may not be used" in image_denial(image, ())
    assert image_denial(image, ("*",)) == ""


@pytest.mark.parametrize("image", NAMED)
def test_a_registry_with_a_name_is_allowed(image: str) -> None:
    assert image_denial(image, ()) == ""


@pytest.mark.parametrize(
    ("image", "allowed"),
    [
        ("registry.example.org/a/b:1", True),
        ("registry.example.org.evil.test/a", False),
        ("registryXexample.org/a", False),
        ("ubuntu:24.04", True),
        ("ubuntu:24.040", False),
        ("127.0.0.1/x", False),
        ("team/tool", True),
    ],
)
def test_with_patterns_only_what_they_match_is_allowed(image: str, allowed: bool) -> None:
    assert (
        image_denial(image, ("registry.example.org/*", "ubuntu:24.04", "docker.io/team/*")) == ""
    ) is allowed


@pytest.mark.parametrize("entry", ["a b", "http://x?y", "x;y"])
def test_a_pattern_that_no_image_can_match_is_a_wrong_setting(entry: str) -> None:
    with pytest.raises(SettingsError, match="FERRYMAN_IMAGES"):
        image_patterns((entry,))


def test_each_link_is_refused_at_its_image_with_a_remedy() -> None:
    text = "name: x\nimage: 127.0.0.1/x\npre:\n- image: localhost/x\npost:\n- {image: 127.1/x}\n"
    with pytest.raises(Invalid) as refused:
        schema.check(text.encode(), "yaml", HostAccess())
    problems = {problem.path: problem for problem in refused.value.problems}
    places = {path: (problem.line, problem.column) for path, problem in problems.items()}
    assert places == {"image": (2, 1), "pre[0].image": (4, 3), "post[0].image": (6, 4)}
    assert all("FERRYMAN_IMAGES" in problem.hint for problem in problems.values())
    assert schema.check(text.encode(), "yaml", host_access_from((), (), images=("*",)))
