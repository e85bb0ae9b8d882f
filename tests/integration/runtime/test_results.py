"""Results of a link: exit code, output file, standard output; and what a task can do to the output file."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model import names
from engine.runtime.base import Cause, Order
from engine.runtime.docker.runtime import DockerRuntime
from tests.support.docker_daemon import ALPINE, UBUNTU, KeepingSink, require_docker, run

Orders = Callable[..., Order]
#: Both ways to exchange files: bound directories, and copies by archive.
both_ways = pytest.mark.parametrize("shares_files", [True, False], ids=["bound", "by archive"])


def test_the_hello_example_returns_its_output_untrimmed(runtime: DockerRuntime, order: Orders) -> None:
    outcome = run(runtime, order(image=UBUNTU, cmd=("echo", "-n", "hello world")))
    assert (outcome.ok, outcome.result, outcome.message) == (True, "hello world", None)


def test_whitespace_around_the_output_is_kept(runtime: DockerRuntime, order: Orders) -> None:
    assert run(runtime, order(cmd=("printf", "  a \n\n"))).result == "  a \n\n"


def test_an_exit_code_is_returned_and_is_a_failure(runtime: DockerRuntime, order: Orders) -> None:
    outcome = run(runtime, order(run="exit 3"))
    assert (outcome.ok, outcome.exit_code, outcome.cause) == (False, 3, Cause.EXITED)


@both_ways
def test_only_the_main_link_has_a_result(runtime: DockerRuntime, order: Orders) -> None:
    assert run(runtime, order(kind="pre", run="echo x; echo y > $FERRYMAN_OUTPUT")).result is None


@pytest.mark.parametrize("variable", ["FERRYMAN_OUTPUT", "TORK_OUTPUT"])
@both_ways
def test_the_output_file_wins_over_standard_output(
    runtime: DockerRuntime, order: Orders, variable: str
) -> None:
    assert run(runtime, order(run=f"echo shown; echo kept > ${variable}")).result == "kept\n"


def test_a_container_knows_its_job_task_and_attempt(runtime: DockerRuntime, order: Orders) -> None:
    wanted = order(
        run="echo $FERRYMAN_JOB_ID $FERRYMAN_TASK_ID $FERRYMAN_ATTEMPT of 1 + $FERRYMAN_RETRY_LIMIT",
        attempt=2,
    )
    wanted = replace(wanted, retry_limit=3)
    assert run(runtime, wanted).result == f"{wanted.job_id} {wanted.run.task_id} 2 of 1 + 3\n"


@both_ways
def test_a_file_moved_onto_the_output_is_the_result(runtime: DockerRuntime, order: Orders) -> None:
    assert run(runtime, order(run="echo moved > /tmp/x; mv /tmp/x $FERRYMAN_OUTPUT")).result == "moved\n"


@both_ways
def test_a_user_of_the_image_may_write_the_output(runtime: DockerRuntime, order: Orders) -> None:
    assert run(runtime, order(run="id -u > $FERRYMAN_OUTPUT", user="65534")).result == "65534\n"


def with_volume(wanted: Order, target: str) -> Order:
    """Return the order with a new volume of its run."""
    return replace(wanted, volumes=((names.volume(wanted.installation, wanted.run, 0), target),))


@both_ways
@pytest.mark.parametrize("user", ["nobody", "65534:65534"])
def test_a_user_of_the_image_may_write_to_a_new_volume_and_to_the_working_directory(
    runtime: DockerRuntime, order: Orders, user: str
) -> None:
    wanted = order(
        run="echo x > /data/f && echo y > here && cat /data/f here given.txt > $FERRYMAN_OUTPUT",
        user=user,
        files={"given.txt": "z\n"},
    )
    assert run(runtime, with_volume(wanted, "/data")).result == "x\ny\nz\n"


def test_a_directory_that_the_image_brought_keeps_its_mode(runtime: DockerRuntime, order: Orders) -> None:
    # /root is 0700 in the image, and Docker copies the mode to the volume.
    wanted = order(run="ls -ld /root | cut -c 1-10", user="nobody")
    assert run(runtime, with_volume(wanted, "/root")).result == "drwx------\n"


def test_a_command_is_process_1_without_init(runtime: DockerRuntime, order: Orders) -> None:
    assert run(runtime, order(cmd=("sh", "-c", "echo $$"))).result != "1\n"
    assert run(runtime, order(cmd=("sh", "-c", "echo $$"), init=False)).result == "1\n"
    missing = run(runtime, order(cmd=("no-such-command",), init=False))
    assert (missing.exit_code, missing.cause) == (127, Cause.NOT_STARTED)


@both_ways
def test_an_output_that_its_user_made_unreadable_is_read(runtime: DockerRuntime, order: Orders) -> None:
    script = "umask 077; echo secret > $FERRYMAN_OUTPUT; chmod 000 $FERRYMAN_OUTPUT"
    assert run(runtime, order(run=script)).result == "secret\n"


@both_ways
@pytest.mark.parametrize(
    "script",
    [
        "ln -s /etc/passwd $FERRYMAN_OUTPUT",
        "mkfifo $FERRYMAN_OUTPUT",
        "mkdir $FERRYMAN_OUTPUT",
        "mknod $FERRYMAN_OUTPUT c 1 5",
    ],
    ids=["symbolic link", "FIFO", "directory", "device"],
)
def test_an_output_that_is_not_a_plain_file_is_not_read(
    make_runtime: Callable[..., DockerRuntime], runtime: DockerRuntime, order: Orders, script: str
) -> None:
    sink = KeepingSink()
    # Only where an operator keeps MKNOD can a task make a device node at all.
    outcome = run(make_runtime(keep_capabilities=("MKNOD",)), order(run=f"echo shown; {script}"), sink)
    assert (outcome.exit_code, outcome.result) == (0, "shown\n")
    assert any("output file is not read" in note for note in sink.notes)


def test_an_output_with_another_name_is_not_read_in_a_bound_directory(
    runtime: DockerRuntime, order: Orders
) -> None:
    # By archive it can only be another file of the same container.
    sink = KeepingSink()
    script = "echo shown; echo x > $FERRYMAN_OUTPUT; ln $FERRYMAN_OUTPUT /ferryman/out/other"
    assert run(runtime, order(run=script), sink).result == "shown\n"
    assert sink.notes == ["the output file is not read: it has more than one name"]


@both_ways
def test_a_large_output_is_reduced_to_its_first_bytes_with_a_note(
    make_runtime: Callable[..., DockerRuntime], order: Orders
) -> None:
    sink = KeepingSink()
    outcome = run(make_runtime(result_bytes=1024), order(run="seq 100000 > $FERRYMAN_OUTPUT"), sink)
    assert outcome.result is not None and len(outcome.result) == 1024 and outcome.result.startswith("1\n2\n")
    assert sink.notes == ["the output file has 588895 bytes; the first 1024 are the result"]


@both_ways
def test_a_large_output_is_cut_between_characters(
    make_runtime: Callable[..., DockerRuntime], order: Orders
) -> None:
    sink = KeepingSink()
    script = "i=0; while [ $i -lt 3000 ]; do printf '€'; i=$((i+1)); done > $FERRYMAN_OUTPUT"
    assert run(make_runtime(result_bytes=1024), order(run=script), sink).result == "€" * 341
    assert sink.notes == ["the output file has 9000 bytes; the first 1024 are the result"]


@pytest.mark.parametrize("target", ["", " > $FERRYMAN_OUTPUT"], ids=["standard output", "output file"])
def test_what_cannot_be_text_in_a_result_is_told(runtime: DockerRuntime, order: Orders, target: str) -> None:
    sink = KeepingSink()
    outcome = run(runtime, order(run=f"printf '\\200a\\000b\\377\\303'{target}"), sink)
    assert outcome.result == "\ufffda\ufffdb\ufffd\ufffd"
    assert sink.notes == [
        "the result has NUL or bytes that are not UTF-8: U+FFFD stands for them at 4 places"
    ]


def test_a_replacement_character_that_the_task_wrote_is_none_of_ours(
    runtime: DockerRuntime, order: Orders
) -> None:
    sink = KeepingSink()
    assert run(runtime, order(run="printf '\\357\\277\\275' > $FERRYMAN_OUTPUT"), sink).result == "\ufffd"
    assert not sink.notes


def test_the_last_64_kib_of_standard_output_are_the_result(runtime: DockerRuntime, order: Orders) -> None:
    result = run(runtime, order(run="seq 100000")).result
    assert result is not None and len(result) == 65536 and result.endswith("99999\n100000\n")


@both_ways
def test_files_lie_in_the_default_workdir(runtime: DockerRuntime, order: Orders) -> None:
    files = {"a.txt": "A\n", "sub/b.txt": "ü\n"}
    outcome = run(runtime, order(run="pwd; cat a.txt sub/b.txt; ls -l a.txt | cut -c1-10", files=files))
    assert outcome.result == "/tork/workdir\nA\nü\n-r--r--r--\n"


@both_ways
def test_line_ends_of_windows_become_line_feeds_in_scripts_and_stay_in_data(
    runtime: DockerRuntime, order: Orders
) -> None:
    files = {"script": "#!/bin/sh\r\nprintf '%s;' $1\r\n", "data": "a\r\nb\r\n"}
    run_text = "printf one\r\nif true; then\r\n  sh ./script two\r\nfi\r\ncat data\r\n"
    assert run(runtime, order(run=run_text, files=files)).result == "onetwo;a\r\nb\r\n"


def test_files_that_are_bound_are_read_only(runtime: DockerRuntime, order: Orders) -> None:
    # Copied files belong to the container, and its root may write them.
    script = "echo x > a.txt; rm a.txt; mv sub/b.txt c; cat a.txt sub/b.txt"
    assert run(runtime, order(run=script, files={"a.txt": "A\n", "sub/b.txt": "ü\n"})).result == "A\nü\n"


@both_ways
def test_files_lie_in_the_workdir_that_the_task_names(runtime: DockerRuntime, order: Orders) -> None:
    outcome = run(runtime, order(cmd=("sh", "-c", "pwd; cat x"), files={"x": "X"}, workdir="/srv/here"))
    assert outcome.result == "/srv/here\nX"


@both_ways
def test_run_is_passed_as_a_file_to_the_entrypoint(runtime: DockerRuntime, order: Orders) -> None:
    outcome = run(runtime, order(run="echo $0; ls -l /ferryman/run | cut -c1-10", entrypoint=("sh",)))
    assert outcome.result == "/ferryman/run\n-r-xr-xr-x\n"


@both_ways
def test_run_keeps_its_shebang(runtime: DockerRuntime, order: Orders) -> None:
    script = "#!/bin/bash\na=(1 2 3); echo ${#a[@]}"
    assert run(runtime, order(image=UBUNTU, run=script)).result == "3\n"


def test_env_reaches_the_container_but_ours_wins(runtime: DockerRuntime, order: Orders) -> None:
    env = {"GREETING": "a = b\nc", "FERRYMAN_OUTPUT": "/nowhere"}
    outcome = run(runtime, order(cmd=("sh", "-c", 'echo "$GREETING $FERRYMAN_OUTPUT"'), env=env))
    assert outcome.result == "a = b\nc /ferryman/out/result\n"


def test_the_probe_of_shared_files_leaves_nothing(
    make_runtime: Callable[..., DockerRuntime], runtime: DockerRuntime, docker: object, installation: str
) -> None:
    client = require_docker()
    assert make_runtime(shares_files=None)._host.shared_files.are_shared()
    assert not client.api.images(filters={"label": f"ferryman.installation={installation}"})


def test_work_directories_are_closed_to_other_users_of_the_host(
    runtime: DockerRuntime, order: Orders, docker_settings: object
) -> None:
    prepared = order(run="true")
    run(runtime, prepared)
    path = Path(docker_settings.data_dir) / "work"  # type: ignore[attr-defined]
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_name_lookup_and_a_download_work_in_the_stand_in(runtime: DockerRuntime, order: Orders) -> None:
    require_docker(ALPINE)
    script = "httpd -p 127.0.0.1:80 -h /etc; wget -q -O - http://localhost/group | head -n1"
    assert run(runtime, order(run=script, image=ALPINE)).result == "root:x:0:\n"
