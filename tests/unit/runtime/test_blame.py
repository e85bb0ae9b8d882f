"""The judge of Docker's refusals, on messages of Docker 20.10 to 29, runc and containerd as they were seen."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from docker.errors import APIError

from engine.errors import DataDirectoryFault, MachineFault, Unstartable
from engine.runtime.docker import blame
from tests.support.docker_daemon import an_order

DATA_DIR = Path("/var/lib/ferryman")
_RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: "
_NO_LOG = (
    "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open "
    "/run/containerd/io.containerd.runtime.v2.task/moby/6ad507/log.json: no such file or directory): "
)

OF_TASK = {
    "no such user": "unable to find user nosuch: no matching entries in passwd file",
    "no such group": "unable to find group nosuch: no matching entries in group file",
    "a user named as a fault": "unable to find user no space left on device: no matching entries in passwd file",
    "too large a user": "uids and gids must be in range 0-2147483647",
    "a directory on a file": _RUNC
    + 'error during container init: error mounting "/srv" to rootfs at "/etc/passwd": mount /srv:/etc/passwd (via '
    "/proc/self/fd/6), flags: 0x5000: not a directory: unknown: Are you trying to mount a directory onto a file",
    "a mount in a read-only one": _RUNC
    + 'error during container init: error mounting "v" to rootfs at "/in/out": mkdir /var/lib/docker/overlay2/1/merged'
    "/in/out: read-only file system: unknown",
    "too little memory": _RUNC + "container init was OOM-killed (memory limit too low?): unknown",
    "a workdir that is closed": _RUNC
    + 'chdir to cwd ("/root") set in config.json failed: permission denied: unknown',
    "another processor": _RUNC + "exec /app: exec format error: unknown",
    "no such network": "network backend not found",
}
OF_MACHINE = {
    "no bridge": "failed to create endpoint x on network bridge: adding interface veth4fb60af to bridge br0 failed: "
    "could not find bridge br0: route ip+net: no such network interface",
    "no runc": _NO_LOG + 'exec: "runc": executable file not found in $PATH: unknown',
    "a broken runc": _NO_LOG + "runc did not terminate successfully: exit status 3: unknown",
    "no docker-init": 'exec: "docker-init": executable file not found in $PATH',
    "no shim": "failed to start shim: start failed: : fork/exec /usr/bin/containerd-shim-runc-v2: no such file or "
    "directory: unknown",
    "no containerd": 'connection error: desc = "transport: Error while dialing dial unix /run/c.sock: connect: '
    'connection refused": unavailable',
    "a full disk": "write /var/lib/docker/containers/0249/hosts: no space left on device",
    "a full disk at a mount": _RUNC
    + 'error during container init: error mounting "v" to rootfs at "/data": mkdir /data: no space left on device',
    "no memory": _RUNC + "fork/exec /proc/self/exe: cannot allocate memory: unknown",
    "no files": "error creating scratch pipe: pipe2: too many open files: unknown",
    "iptables": "driver failed programming external connectivity on endpoint x: iptables failed",
    "cgroups": _RUNC
    + "unable to apply cgroup configuration: mkdir /sys/fs/cgroup/memory/docker/1: permission denied",
    "seccomp": _RUNC
    + "error during container init: unable to init seccomp: error loading seccomp filter: EINVAL",
    "words of another version": "the frobnicator did not frobnicate",
}


def _api_error(status: int, words: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    return APIError("refused", response=response, explanation=words)


@pytest.mark.parametrize("words", OF_TASK.values(), ids=OF_TASK)
@pytest.mark.parametrize("code", [125, 126, 127, 128])
def test_words_about_what_the_task_chose_blame_the_task(words: str, code: int) -> None:
    order = an_order("i1", networks=("backend",))
    refusal = blame.of_start(order, "/app", code, words)
    assert isinstance(refusal, Unstartable) and refusal.exit_code == code
    assert isinstance(blame.of_request(order, "refused", _api_error(500, words), DATA_DIR), Unstartable)


@pytest.mark.parametrize("words", OF_MACHINE.values(), ids=OF_MACHINE)
@pytest.mark.parametrize("code", [125, 126, 127, 128])
def test_all_other_words_blame_the_machine_whatever_the_code(words: str, code: int) -> None:
    order = an_order("i1", networks=("backend",))
    for command in ("/app", "sh", "init"):
        refusal = blame.of_start(order, command, code, words)
        assert isinstance(refusal, MachineFault)
        assert words[-40:] in str(refusal)
    assert isinstance(blame.of_request(order, "refused", _api_error(500, words), DATA_DIR), MachineFault)


@pytest.mark.parametrize(
    ("code", "words", "said"),
    [
        (127, 'exec: "app": executable file not found in $PATH: unknown', "the command is not in the image"),
        (127, 'exec: "app": stat app: no such file or directory: unknown', "the command is not in the image"),
        (126, 'exec: "app": permission denied: unknown', "the command cannot be executed"),
    ],
)
def test_a_program_without_docker_init_is_the_tasks_own(code: int, words: str, said: str) -> None:
    refusal = blame.of_start(an_order("i1"), "app", code, _RUNC + words)
    assert isinstance(refusal, Unstartable) and str(refusal).startswith(said)
    assert isinstance(blame.of_start(an_order("i1"), "other", code, _RUNC + words), MachineFault)


def test_what_docker_checked_before_it_acted_is_the_tasks_unless_the_machine_is_exhausted() -> None:
    order = an_order("i1")
    few = _api_error(400, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available")
    assert isinstance(blame.of_request(order, "refused", few, DATA_DIR), Unstartable)
    full = _api_error(400, "mkdir /var/lib/docker/overlay2/1: no space left on device")
    assert isinstance(blame.of_request(order, "refused", full, DATA_DIR), MachineFault)


def test_a_missing_work_directory_is_the_workers_own_fault() -> None:
    words = 'invalid mount config for type "bind": bind source path does not exist: '
    ours, others = (_api_error(400, words + path) for path in (f"{DATA_DIR}/work/x/out", "/srv/media"))
    assert isinstance(blame.of_request(an_order("i1"), "refused", ours, DATA_DIR), DataDirectoryFault)
    assert isinstance(blame.of_request(an_order("i1"), "refused", others, DATA_DIR), Unstartable)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("manifest for busybox:9 not found: manifest unknown", Unstartable),
        ("Get https://example.test/v2/: dial tcp: lookup example.test: no such host", Unstartable),
        ("pull access denied for x, repository does not exist or may require docker login", Unstartable),
        ("failed to register layer: open /var/lib/docker/1: permission denied", MachineFault),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", MachineFault),
        ("a fault of the daemon", MachineFault),
    ],
)
def test_a_failed_pull_is_the_images_or_the_machines(words: str, kind: type[Exception]) -> None:
    refusal = blame.of_pull("busybox:9", words)
    assert isinstance(refusal, kind)
    assert words not in str(refusal)
