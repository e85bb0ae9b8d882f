"""prepare, list and remove by the rules of docs/protocol.rst: nothing runs twice, nothing foreign is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker.errors as docker_errors
import pytest

from engine.errors import Gone, HostAccessDenied, NotOurs, Unstartable
from engine.jobspec.ceilings import Ceilings
from engine.jobspec.task import HostAccess, Mount
from engine.model import names
from engine.runtime.base import Control, Order, Prepared, PreparedState
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from tests.support.docker_daemon import KeepingSink, begin, run
from tests.support.waiting import wait_until

Orders = Callable[..., Order]


def prepare(runtime: DockerRuntime, order: Order) -> Prepared:
    return runtime.prepare(order, KeepingSink(), Control())


def status(client: Client, prepared: Prepared) -> str | None:
    try:
        return str(client.api.inspect_container(prepared.container_id)["State"]["Status"])
    except docker_errors.NotFound:
        return None


def test_prepare_creates_and_starts_nothing(runtime: DockerRuntime, order: Orders, docker: Client) -> None:
    prepared = prepare(runtime, order(run="true"))
    assert (prepared.state, status(docker, prepared)) == (PreparedState.CREATED, "created")


def test_a_container_created_under_the_same_token_is_another_threads(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    wanted = order(run="true")
    prepared = prepare(runtime, wanted)
    with pytest.raises(NotOurs):
        prepare(runtime, wanted)
    assert status(docker, prepared) == "created"


@pytest.mark.parametrize("shared", [True, False], ids=["files shared", "files by archive"])
def test_a_container_created_by_an_older_delivery_is_never_started(
    runtime: DockerRuntime,
    make_runtime: Callable[..., DockerRuntime],
    order: Orders,
    docker: Client,
    shared: bool,
) -> None:
    worker = make_runtime(shares_files=shared)
    wanted = order(run="echo ran > $FERRYMAN_OUTPUT")
    old = prepare(worker, wanted)
    new = prepare(worker, replace(wanted, delivery=2))
    assert new.state is PreparedState.CREATED and new.container_id != old.container_id
    assert status(docker, old) is None
    with pytest.raises(Gone):
        worker.go(old, KeepingSink(), Control())
    assert worker.go(new, KeepingSink(), Control()).result == "ran\n"


def test_a_container_whose_output_was_renamed_cannot_start(
    runtime: DockerRuntime, order: Orders, docker: Client, docker_settings: Settings
) -> None:
    old = prepare(runtime, order(run="true"))
    (out,) = docker_settings.path.glob("work/*/out")
    out.rename(out.with_name("out.void"))
    with pytest.raises(NotOurs):
        runtime.go(old, KeepingSink(), Control())
    assert status(docker, old) == "created"


def test_a_start_before_the_renaming_is_followed_and_its_result_read_from_the_renamed_directory(
    runtime: DockerRuntime, order: Orders, docker: Client, docker_settings: Settings
) -> None:
    wanted = order(run="sleep 1; echo late > $FERRYMAN_OUTPUT")
    old = prepare(runtime, wanted)
    docker.api.start(old.container_id)
    (out,) = docker_settings.path.glob("work/*/out")
    out.rename(out.with_name("out.void"))
    prepared = prepare(runtime, replace(wanted, delivery=2))
    assert (prepared.state, prepared.container_id) == (PreparedState.RUNNING, old.container_id)
    assert runtime.go(prepared, KeepingSink(), Control()).result == "late\n"


def test_a_container_created_by_a_newer_delivery_is_not_mine(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    wanted = order(run="true")
    newer = prepare(runtime, replace(wanted, delivery=3))
    with pytest.raises(NotOurs):
        prepare(runtime, replace(wanted, delivery=2))
    with pytest.raises(NotOurs):
        prepare(runtime, wanted)
    assert status(docker, newer) == "created"


@pytest.mark.parametrize("run_it", [False, True], ids=["created", "running"])
def test_a_container_of_an_older_run_is_removed_by_force(
    runtime: DockerRuntime, order: Orders, docker: Client, run_it: bool
) -> None:
    wanted = order(run="sleep 60")
    old = prepare(runtime, wanted)
    if run_it:
        docker.api.start(old.container_id)
    new = prepare(runtime, replace(wanted, delivery=2, run=wanted.run._replace(origin=2)))
    assert (new.state, status(docker, old)) == (PreparedState.CREATED, None)


def test_an_older_attempts_container_is_removed_by_force(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    wanted = order(run="sleep 60")
    old = prepare(runtime, wanted)
    docker.api.start(old.container_id)
    prepare(runtime, replace(wanted, run=wanted.run._replace(attempt=2)))
    assert status(docker, old) is None


def test_an_older_run_finds_a_newer_one_and_touches_nothing(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    wanted = order(run="sleep 60")
    newer = prepare(runtime, replace(wanted, delivery=5, run=wanted.run._replace(origin=5)))
    docker.api.start(newer.container_id)
    with pytest.raises(NotOurs):
        prepare(runtime, replace(wanted, delivery=4))
    assert status(docker, newer) == "running"


def test_discard_removes_an_unconfirmed_container_but_not_a_running_one(
    runtime: DockerRuntime, order: Orders, docker: Client, docker_settings: Settings
) -> None:
    prepared = prepare(runtime, order(run="true"))
    runtime.discard(prepared)
    assert status(docker, prepared) is None
    assert not list((docker_settings.path / "work").iterdir())
    runtime.discard(prepared)

    wanted = order(run="sleep 60")
    started = prepare(runtime, wanted)
    docker.api.start(started.container_id)
    runtime.discard(prepare(runtime, replace(wanted, delivery=2)))
    runtime.discard(started)
    assert status(docker, started) == "running"


def test_go_on_a_removed_container_raises_gone(runtime: DockerRuntime, order: Orders, docker: Client) -> None:
    prepared = prepare(runtime, order(run="true"))
    docker.api.remove_container(prepared.container_id)
    with pytest.raises(Gone):
        runtime.go(prepared, KeepingSink(), Control())


def test_links_share_the_volumes_of_their_run(
    runtime: DockerRuntime, order: Orders, installation: str
) -> None:
    pre = order(kind="pre", run="echo handed on > /data/x")
    volume = names.volume(installation, pre.run, 0)
    pre = replace(pre, volumes=((volume, "/data"),))
    assert run(runtime, pre).ok
    main = replace(pre, kind="main", index=1, spec=replace(pre.spec, run="cat /data/x"), needs_volumes=True)
    assert run(runtime, main).result == "handed on\n"


def test_a_missing_volume_raises_gone_and_dockers_empty_one_is_removed(
    runtime: DockerRuntime, order: Orders, installation: str, docker: Client
) -> None:
    main = order(index=1, run="cat /data/x", needs_volumes=True)
    volume = names.volume(installation, main.run, 0)
    with pytest.raises(Gone):
        prepare(runtime, replace(main, volumes=((volume, "/data"),)))
    assert not runtime.list()
    with pytest.raises(docker_errors.NotFound):
        docker.api.inspect_volume(volume)


def test_list_returns_everything_and_remove_leaves_nothing(
    runtime: DockerRuntime, order: Orders, installation: str, docker_settings: Settings
) -> None:
    wanted = order(run="true", attempt=2, delivery=3, origin=3)
    wanted = replace(wanted, volumes=((names.volume(installation, wanted.run, 0), "/data"),))
    assert run(runtime, wanted).ok
    prepare(runtime, order(run="true"))
    resources = runtime.list()
    mine = {(t.kind, t.name, t.index, t.state) for t in resources if t.run == wanted.run}
    assert mine == {
        ("container", wanted.name, 0, "exited"),
        ("volume", wanted.volumes[0][0], None, ""),
    }
    assert len(resources) == 3
    assert runtime.remove(resources) == 3
    assert not runtime.list()
    assert runtime.remove(resources) == 3, "a resource that is already gone counts"
    assert not list((docker_settings.path / "work").iterdir())


def test_another_installations_containers_are_neither_listed_nor_removed(
    runtime: DockerRuntime, order: Orders, docker: Client, make_runtime: Callable[..., DockerRuntime]
) -> None:
    prepared = prepare(runtime, replace(order(run="true"), installation="other"))
    try:
        assert not runtime.list()
        assert status(docker, prepared) == "created"
    finally:
        runtime.discard(prepared)


def test_limits_and_restrictions_are_in_place(
    runtime: DockerRuntime, order: Orders, docker: Client, docker_settings: Settings
) -> None:
    wanted = order(run="true", cpus=0.5, memory_bytes=32 << 20, shm_bytes=1 << 20, networks=("none",))
    about = docker.api.inspect_container(prepare(runtime, wanted).container_id)
    host = about["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (32 << 20, 32 << 20, 500_000_000)
    assert (host["ShmSize"], host["PidsLimit"]) == (1 << 20, docker_settings.runtime.pids_limit)
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["CapDrop"] == ["MKNOD", "NET_RAW", "AUDIT_WRITE", "SETFCAP"]
    assert (host["Privileged"], host["AutoRemove"], host["Init"]) == (False, False, True)
    assert host["NetworkMode"] == "none"
    assert host["LogConfig"] == {
        "Type": "local",
        "Config": {"max-file": "5", "max-size": str(27 * (16 << 20)), "compress": "false"},
    }
    assert not host["Binds"] and all(
        m["RW"] is (m["Destination"] == "/ferryman/out") for m in about["Mounts"]
    )
    # The image's labels are included.
    ours = {key: text for key, text in about["Config"]["Labels"].items() if key != names.STANDIN}
    assert ours == {
        names.INSTALLATION: wanted.installation,
        names.KIND: "container",
        names.JOB: wanted.job_id,
        names.TASK: wanted.run.task_id,
        names.ATTEMPT: "1",
        names.ORIGIN: "1",
        names.LINK: "0",
        names.DELIVERY: "1",
    }


def test_a_task_without_a_limit_gets_the_default_memory(
    runtime: DockerRuntime, order: Orders, docker: Client
) -> None:
    about = docker.api.inspect_container(prepare(runtime, order(run="true", memory_bytes=None)).container_id)
    assert about["HostConfig"]["Memory"] == about["HostConfig"]["MemorySwap"] == 2 << 30


def test_sizes_above_this_workers_ceilings_are_refused_on_the_host(
    make_runtime: Callable[..., DockerRuntime], order: Orders
) -> None:
    worker = make_runtime(HostAccess(ceilings=Ceilings(memory_bytes=32 << 20, shm_bytes=1 << 20)))
    for asked in (order(run="true"), order(run="true", memory_bytes=16 << 20, shm_bytes=2 << 20)):
        with pytest.raises(HostAccessDenied, match="that this worker allows"):
            prepare(worker, asked)
        assert "that this worker allows" in worker.why_refused(asked)
    assert run(worker, order(run="true", memory_bytes=16 << 20, shm_bytes=1 << 20)).ok


def test_more_processes_than_allowed_are_refused(
    make_runtime: Callable[..., DockerRuntime], order: Orders
) -> None:
    outcome = run(make_runtime(pids_limit=16), order(run="for i in $(seq 40); do sleep 1 & done; wait"))
    assert outcome.exit_code != 0


def test_more_cpus_than_the_host_has_are_refused_with_a_reason(runtime: DockerRuntime, order: Orders) -> None:
    with pytest.raises(Unstartable, match="CPUs"):
        prepare(runtime, order(run="true", cpus=900.0))


def test_a_tmpfs_has_its_size(runtime: DockerRuntime, order: Orders) -> None:
    mount = Mount("tmpfs", "/scratch", opts={"size": "1m", "mode": "1777"})
    assert run(
        runtime, order(run="df -k /scratch | tail -n1 | tr -s ' ' | cut -d' ' -f2", mounts=(mount,))
    ).result == ("1024\n")


class Host:
    """Folder that allows binds, with a symbolic link in it that leads out."""

    def __init__(self, path: Path) -> None:
        self.allowed = path / "allowed"
        self.allowed.mkdir()
        (self.allowed / "x").write_text("seen\n")
        (self.allowed / "escape").symlink_to("/etc")
        self.elsewhere = path / "elsewhere"
        self.elsewhere.mkdir()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def bind(source: Path, **opts: str) -> Mount:
    return Mount("bind", "/mnt/it", str(source), opts)


def test_an_allowed_bind_is_read_only_unless_its_entry_has_rw(
    make_runtime: Callable[..., DockerRuntime], order: Orders, host: Host
) -> None:
    script = "cat /mnt/it/x; echo changed > /mnt/it/y"
    for writable in (False, True):
        worker = make_runtime(HostAccess(bind_sources=((str(host.allowed), writable),)))
        outcome = run(worker, order(run=script, mounts=(bind(host.allowed),)))
        assert (outcome.result, outcome.ok) == ("seen\n", writable)
    assert run(worker, order(run=script, mounts=(bind(host.allowed, mode="ro"),))).exit_code != 0


@pytest.mark.parametrize("source", ["escape", "../elsewhere", "absent"])
def test_a_bind_that_leads_elsewhere_is_refused_on_the_host(
    make_runtime: Callable[..., DockerRuntime], order: Orders, host: Host, source: str
) -> None:
    worker = make_runtime(HostAccess(bind_sources=((str(host.allowed), False),)))
    with pytest.raises(Unstartable):
        prepare(worker, order(run="true", mounts=(bind(host.allowed / source),)))
    assert not worker.list()


def test_a_bind_is_refused_where_worker_and_daemon_share_no_files(
    make_runtime: Callable[..., DockerRuntime], order: Orders, host: Host
) -> None:
    worker = make_runtime(HostAccess(bind_sources=((str(host.allowed), True),)), shares_files=False)
    with pytest.raises(Unstartable, match="does not share files"):
        prepare(worker, order(run="true", mounts=(bind(host.allowed),)))


def test_a_network_that_is_not_on_the_list_is_refused_on_the_host(
    runtime: DockerRuntime, order: Orders
) -> None:
    with pytest.raises(Unstartable, match="FERRYMAN_NETWORKS"):
        prepare(runtime, order(run="true", networks=("host",)))


def test_networks_on_the_list_are_joined(
    make_runtime: Callable[..., DockerRuntime], order: Orders, docker: Client, installation: str
) -> None:
    networks = [f"{installation}-a", f"{installation}-b"]
    for name in networks:
        docker.api.create_network(name)
    worker = make_runtime(HostAccess(networks=tuple(networks)))
    try:
        prepared = prepare(worker, order(run="true", networks=tuple(networks)))
        about = docker.api.inspect_container(prepared.container_id)
        assert sorted(about["NetworkSettings"]["Networks"]) == networks
        worker.remove(worker.list())
    finally:
        for name in networks:
            docker.api.remove_network(name)


def test_the_daemon_is_described_in_a_few_words(runtime: DockerRuntime) -> None:
    assert runtime.describe().startswith("docker ")


def test_a_missing_daemon_is_reported(make_runtime: Callable[..., DockerRuntime], tmp_path: Path) -> None:
    from engine.errors import RuntimeUnavailable

    absent = make_runtime(docker_host=f"unix://{tmp_path}/no.sock")
    for call in (absent.describe, absent.list):
        with pytest.raises(RuntimeUnavailable, match="is the daemon running"):
            call()


def test_the_reader_of_a_detached_link_writes_no_more(runtime: DockerRuntime, order: Orders) -> None:
    running = begin(runtime, order(run="while :; do echo x; sleep 0.01; done"))
    wait_until(lambda: running.sink.frames, 10)
    running.control.detach()
    running.thread.join(5)
    count = len(running.sink.frames)
    running.thread.join(0.3)
    assert len(running.sink.frames) == count
