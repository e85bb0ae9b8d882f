"""Places of the host that binds show: compared by where they are, not movable by tasks, harmless on the host."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engine.errors import HostAccessDenied
from engine.jobspec.host_access import host_access_from
from engine.jobspec.task import Mount
from engine.runtime.base import Order
from engine.runtime.docker.client import Client
from engine.runtime.docker.runtime import DockerRuntime
from engine.settings import Settings
from tests.support.docker_daemon import UBUNTU, run
from tests.support.waiting import wait_until

Orders = Callable[..., Order]
MakeRuntime = Callable[..., DockerRuntime]
#: An account of the host that is neither root nor the worker's.
NOBODY = 65534


@dataclass
class Tree:
    """Directory of the host that every account may enter, with mounts that end with the test."""

    path: Path
    stack: ExitStack

    def folder(self, name: str, mode: int = 0o755) -> Path:
        made = self.path / name
        made.mkdir(parents=True)
        made.chmod(mode)
        return made

    def bind(self, source: Path, target: Path, options: str = "") -> Path:
        """Show `source` at `target` too."""
        self._call("mount", "--bind", str(source), str(target))
        self.stack.callback(self._call, "umount", "-l", str(target))
        if options:
            self._call("mount", "-o", f"remount,bind,{options}", str(target))
        return target

    def mount(self, filesystem: str, target: Path) -> None:
        self._call("mount", "-t", filesystem, "none", str(target))
        self.stack.callback(self._call, "umount", "-l", str(target))

    @staticmethod
    def _call(*command: str) -> None:
        subprocess.run(command, check=True, timeout=20)


@pytest.fixture
def tree() -> Iterator[Tree]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    path = Path(tempfile.mkdtemp(prefix="ferryman-places-"))
    path.chmod(0o755)
    try:
        with ExitStack() as stack:
            yield Tree(path, stack)
    finally:
        shutil.rmtree(path)


@pytest.fixture
def worker(make_runtime: MakeRuntime, docker_settings: Settings) -> Callable[..., DockerRuntime]:
    """Return a function that makes a worker with these bind sources."""

    def make(*sources: str, data_dir: str = "", **values: object) -> DockerRuntime:
        access = host_access_from(sources, (), (data_dir or docker_settings.data_dir,))
        return make_runtime(access, **values)

    return make


def order_with(order: Orders, source: Path, script: str = "true", **opts: str) -> Order:
    return order(run=script, mounts=(Mount("bind", "/mnt/it", str(source), opts),))


def denial(runtime: DockerRuntime, order: Order) -> str:
    """Return why the worker refuses the order; "" when it takes it."""
    return runtime.why_refused(order)


def test_no_task_gets_out_of_a_writable_place_while_another_swaps_its_directories(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree, tmp_path: Path
) -> None:
    # The swapper does what a task with the writable mount can do: exchange a directory and a link, all the time.
    place, secret = tree.folder("place", 0o777), tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of the host")
    tree.bind(place, place, "nosuid,nodev")
    swaps = "mkdir x; ln -s $SECRET y; while :; do mv -T x z; mv -T y x; mv -T z y; sleep 0.02; done"
    runtime = worker(f"{place}:rw")
    outcomes: list[str] = []
    swapper = subprocess.Popen(["sh", "-c", swaps], cwd=place, env=os.environ | {"SECRET": str(secret)})
    try:
        wait_until(lambda: (place / "x").exists(), 10)
        for source in (place / "x", place / "x" / ".", place / "y"):
            for _ in range(20):
                with pytest.raises(HostAccessDenied) as refused:
                    run(runtime, order_with(order, source, "cat /mnt/it/key"))
                outcomes.append(str(refused.value))
    finally:
        swapper.kill()
        swapper.wait(10)
    assert any("mount " + str(place) + " itself" in reason for reason in outcomes)
    assert run(runtime, order_with(order, place, "echo here > /mnt/it/said")).ok
    assert (place / "said").read_text() == "here\n"


def test_what_is_below_a_writable_place_is_refused_under_a_second_name_too(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree
) -> None:
    place, media = tree.folder("place"), tree.folder("media")
    tree.folder("place/inner")
    tree.bind(place, tree.folder("media/second"))
    tree.bind(tree.folder("elsewhere"), tree.folder("place/mounted"))
    runtime = worker(str(media), f"{place}:rw")
    for source in (media / "second" / "inner", media / "second" / "mounted"):
        assert f"tasks may write in {place}, so they could replace it" in denial(
            runtime, order_with(order, source)
        )
    assert denial(runtime, order_with(order, media, mode="ro")) == ""


def test_a_link_in_a_read_only_place_opens_no_writing(
    worker: Callable[..., DockerRuntime], order: Orders, tmp_path: Path
) -> None:
    place, media = tmp_path / "place", tmp_path / "media"
    place.mkdir()
    media.mkdir()
    (media / "link").symlink_to(place)
    runtime = worker(str(media), f"{place}:rw")
    assert not run(runtime, order_with(order, media / "link", "echo x > /mnt/it/x")).ok
    assert "read-only, not read-write" in denial(runtime, order_with(order, media / "link", mode="rw"))


@pytest.mark.parametrize(
    "way", ["symbolic link", "second mount", "mount inside", "mount of a directory in it"]
)
def test_the_data_directory_is_refused_wherever_it_is_reached(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree, way: str
) -> None:
    big = tree.folder("big")
    data = tree.folder("big/data", 0o700)
    tree.folder("big/data/work")
    (tree.path / "var").symlink_to(big)
    source, configured = data, data
    if way == "symbolic link":
        configured = tree.path / "var" / "data"
    elif way == "second mount":
        source = tree.bind(data, tree.folder("other"))
    elif way == "mount inside":
        source = tree.folder("media")
        tree.bind(big, tree.folder("media/deep"))
    else:
        source = tree.bind(data / "work", tree.folder("other"))
    runtime = worker(str(source), data_dir=str(configured))
    assert "never shared" in denial(runtime, order_with(order, source))


def test_a_second_name_of_a_forbidden_file_is_refused(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree
) -> None:
    secret, name = tree.folder("own") / "secret", tree.folder("media") / "name"
    secret.write_text("x")
    os.link(secret, name)
    runtime = worker(str(name.parent), data_dir=str(secret))
    assert "never shared" in denial(runtime, order_with(order, name))


def test_the_daemons_directory_is_refused_under_another_name(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree, docker: Client
) -> None:
    root = Path(docker.api.info()["DockerRootDir"])
    place = tree.bind(root / "volumes", tree.folder("media"))
    assert "never shared" in denial(worker(str(place)), order_with(order, place))


@pytest.mark.parametrize("filesystem", ["proc", "sysfs", "devtmpfs"])
def test_the_kernels_files_are_refused_wherever_they_are_mounted(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree, filesystem: str
) -> None:
    media = tree.folder("media")
    tree.mount(filesystem, tree.folder("media/inner"))
    runtime = worker(str(media))
    for source in (media, media / "inner"):
        assert "the kernel's own files" in denial(runtime, order_with(order, source))


def test_the_hosts_own_programs_are_not_writable_under_another_name(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree
) -> None:
    tree.folder("outer", 0o700)
    place = tree.bind(Path("/usr/share"), tree.folder("outer/place"))
    runtime = worker(f"{place}:rw")
    assert "it leads to /usr, where tasks may never write" in denial(runtime, order_with(order, place))
    assert denial(runtime, order_with(order, place, mode="ro")) == ""


def test_a_socket_is_refused(worker: Callable[..., DockerRuntime], order: Orders, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        runtime = worker(str(tmp_path / "s"))
        assert "not a directory or a regular file" in denial(runtime, order_with(order, tmp_path / "s"))


def test_a_writable_place_must_be_harmless_on_the_host(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree
) -> None:
    # A closed directory above it, or nosuid on each way to it; one that is read only needs neither.
    outer, place = tree.folder("outer"), tree.folder("outer/place", 0o700)
    runtime = worker(f"{place}:rw")
    writing, reading = order_with(order, place), order_with(order, place, mode="ro")
    assert f"mount {place} with nosuid, or close a directory above it" in denial(runtime, writing)
    assert denial(runtime, reading) == ""
    outer.chmod(0o700)
    assert denial(runtime, writing) == ""
    outer.chmod(0o710)
    assert "set-user-id" in denial(runtime, writing)
    second = tree.bind(outer, tree.folder("second"))
    tree.bind(place, place, "nosuid")
    assert f"mount {second}/place with nosuid" in denial(runtime, writing)
    tree.bind(second, second, "nosuid")
    assert denial(runtime, writing) == ""
    part = tree.folder("part")
    (place / "sub").mkdir()
    tree.bind(place / "sub", part, "suid")
    assert f"mount {part} with nosuid" in denial(runtime, writing)


def test_device_nodes_need_nodev_where_containers_keep_mknod(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree
) -> None:
    place = tree.folder("place")
    tree.bind(place, place, "nosuid")
    writing = order_with(order, place)
    assert denial(worker(f"{place}:rw"), writing) == ""
    assert "with nosuid,nodev" in denial(worker(f"{place}:rw", keep_capabilities=("MKNOD",)), writing)


def test_a_set_user_id_program_that_a_task_leaves_gives_no_account_another_user(
    worker: Callable[..., DockerRuntime], order: Orders, tree: Tree
) -> None:
    place = tree.folder("place")
    tree.bind(place, place, "nosuid")
    script = "cp /usr/bin/id /mnt/it/id && chmod 4755 /mnt/it/id"
    planted = order_with(order, place, script)
    assert run(worker(f"{place}:rw"), replace(planted, spec=replace(planted.spec, image=UBUNTU))).ok
    about = (place / "id").stat()
    assert (about.st_uid, bool(about.st_mode & stat.S_ISUID)) == (0, True)
    ran = subprocess.run(
        [place / "id", "-u"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, timeout=10
    )
    assert ran.stdout.decode().strip() == str(NOBODY), ran.stderr


#: Judges each path of its arguments as an account that is not root, but may use Docker. The interpreter itself may be
#: in a directory of root's, so everything is loaded before.
_JUDGE = """
import os, sys
from engine.jobspec.host_access import host_access_from
from engine.runtime.docker.client import Client
from engine.runtime.docker.host_places import HostPlaces
group, account, *sources = sys.argv[1:]
client = Client("", 10.0)
client.api.info()
os.setgroups([])
os.setgid(int(group))
os.setuid(int(account))
access = host_access_from(sources, (), ("/root/.ferryman",))
places = HostPlaces(client, access, are_devices_made=False)
for path, is_writable in access.bind_sources:
    try:
        places.refuse_unsafe(path, is_writable=is_writable)
        print("allowed")
    except Exception as exc:
        print(exc)
"""


def test_a_worker_that_is_not_root_judges_alike(tree: Tree) -> None:
    media, place, closed = tree.folder("media"), tree.folder("place"), tree.folder("closed/inner")
    homes, root = tree.folder("homes"), Path("/root")
    tree.bind(root, homes)
    closed.parent.chmod(0o700)
    group = os.stat("/var/run/docker.sock").st_gid
    done = subprocess.run(
        [sys.executable, "-c", _JUDGE, str(group), str(NOBODY), str(media), f"{place}:rw", f"{closed}:rw", str(homes)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    allowed, writable, unseen, home = done.stdout.splitlines() or [done.stderr] * 4
    assert allowed == "allowed"
    assert "set-user-id" in writable
    assert "cannot be looked at (Permission denied)" in unseen
    assert "never shared" in home
