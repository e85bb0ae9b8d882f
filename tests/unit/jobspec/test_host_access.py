"""Host access of tasks: the parts of the host that they may use."""

from __future__ import annotations

import pytest

from engine.errors import SettingsError
from engine.jobspec.host_access import BindPermission, bind_permission, host_access_from
from engine.jobspec.task import HostAccess

HOST_ACCESS = host_access_from(
    ("/srv/media", "/srv/out:rw", "/srv/media/own:ro"),
    ("backend",),
    ("/srv/media/.ferryman",),
    "unix:///srv/d.sock",
)


def test_the_settings_say_what_is_open() -> None:
    assert HOST_ACCESS.bind_sources == (
        ("/srv/media", False), ("/srv/out", True), ("/srv/media/own", False),
    )  # fmt: skip
    assert HOST_ACCESS.networks == ("backend",)
    assert {"/srv/media/.ferryman", "/srv/d.sock", "/var/run/docker.sock", "/proc"} <= set(
        HOST_ACCESS.forbidden
    )


def test_nothing_is_open_when_the_settings_are_empty() -> None:
    host_access = host_access_from((), ())
    assert (host_access.bind_sources, host_access.networks) == ((), ())
    assert not bind_permission("/srv", host_access).allowed


@pytest.mark.parametrize("source", ["srv", "/", "/srv/../etc", "/srv:rw:rw:x/..", "//"])
def test_a_source_that_is_no_path_below_the_root_is_a_wrong_setting(source: str) -> None:
    with pytest.raises(SettingsError, match="FERRYMAN_BIND_SOURCES"):
        host_access_from((source,), ())


@pytest.mark.parametrize(
    ("sources", "inner"),
    [
        (("/srv:rw", "/srv/media"), "/srv/media"),
        (("/srv/media", "/srv:rw"), "/srv/media"),
        (("/srv:rw", "/srv/out:rw"), "/srv/out"),
        (("/srv:rw", "/srv"), "/srv"),
    ],
)
def test_an_entry_inside_a_writable_one_is_a_wrong_setting(sources: tuple[str, ...], inner: str) -> None:
    with pytest.raises(SettingsError, match=f'"{inner}" is inside "/srv:rw"'):
        host_access_from(sources, ())


@pytest.mark.parametrize("source", ["/etc/ferryman:rw", "/usr/local/share:rw", "/usr:rw", "/boot:rw"])
def test_a_place_of_the_host_itself_is_never_writable(source: str) -> None:
    with pytest.raises(SettingsError, match=r"would let tasks write in /\w+, which belongs to the host"):
        host_access_from((source,), ())
    assert host_access_from((source[:-3],), ()).bind_sources == ((source[:-3], False),)


@pytest.mark.parametrize("network", ["host", "bridge", "none", "container:x", "a b", "-x"])
def test_a_network_that_docker_reads_otherwise_is_a_wrong_setting(network: str) -> None:
    with pytest.raises(SettingsError, match="FERRYMAN_NETWORKS"):
        host_access_from((), (network,))


@pytest.mark.parametrize(
    ("path", "writable"),
    [
        ("/srv/out", True),
        ("/srv/out/", True),
        ("//srv/out/.", True),
        ("/srv/media/own", False),
        ("/srv/media/own/x", False),
        ("//srv/media/./films", False),
    ],
)
def test_the_longest_entry_that_fits_says_whether_one_may_write(path: str, writable: bool) -> None:
    assert bind_permission(path, HOST_ACCESS) == BindPermission(True, writable)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/srv/media", "it contains /srv/media/.ferryman"),
        ("/srv/media/.ferryman", "/srv/media/.ferryman is never shared"),
        ("/srv/media/.ferryman/x", "/srv/media/.ferryman is never shared"),
        ("/opt", "not in FERRYMAN_BIND_SOURCES"),
        ("/srv/outer", "not in FERRYMAN_BIND_SOURCES"),
        ("/srv/out/x", "tasks may write in /srv/out, so they could replace it; mount /srv/out itself"),
        ("//srv/out/./x/y", "mount /srv/out itself"),
        ("/srv/mediax", "not in FERRYMAN_BIND_SOURCES"),
        ("/", "it contains"),
        ("/srv/out/../../etc", "not an absolute path"),
        ("out", "not an absolute path"),
        ("", "not an absolute path"),
    ],
)
def test_a_path_that_is_not_open_is_refused_with_the_reason(path: str, reason: str) -> None:
    permission = bind_permission(path, HOST_ACCESS)
    assert (permission.allowed, permission.writable) == (False, False)
    assert reason in permission.reason


@pytest.mark.parametrize(
    "path",
    [
        "/var/run/docker.sock",
        "/run",
        "/var",
        "/proc/1/root/etc",
        "/sys",
        "/dev/sda",
        "/run/containerd",
        "/run/systemd/private",
        "/run/dbus",
        "/etc",
        "/etc/shadow",
        "/root/.ssh/id_rsa",
        "/root",
    ],
)
def test_the_hosts_own_places_stay_shut_even_when_they_are_on_the_list(path: str) -> None:
    assert not bind_permission(path, HostAccess(bind_sources=((path, True), ("/var", True)))).allowed
