"""Commands with piped output: one fact per line, no escapes, the documented exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.docker_daemon import BUSYBOX
from tests.support.standalone import FERRYMAN, Standalone, environment, ferryman
from tests.support.terminal import run_on_terminal
from tests.support.waiting import wait_until

pytestmark = pytest.mark.docker
HELLO = f"name: say hello\nimage: {BUSYBOX}\ncmd: [echo, -n, hello world]\n"
LONG = f"name: long\nimage: {BUSYBOX}\ncmd: [sh, -c, 'echo begun; sleep 120']\n"


def run(server: Standalone, *words: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    done = ferryman(*words, env=server.env | more, text=text)
    assert "\x1b" not in done.stdout + done.stderr, "escapes in a pipe"
    assert "Traceback" not in done.stderr, done.stderr
    return done


def submitted(server: Standalone, text: str) -> str:
    done = run(server, "submit", "-", "-q", text=text)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_submit_follow_ends_with_completed_and_exit_0(server: Standalone, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(HELLO + "pre:\n  - {name: prepare, image: '" + BUSYBOX + "', cmd: [echo, ready]}\n")
    done = run(server, "submit", str(file), "--follow")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[0].startswith("say hello    ") and lines[0].endswith("queue default")
    assert any(
        line.startswith(f"pre 0 (prepare)  {BUSYBOX}  exit 0  ") and line.endswith((" ms", " s"))
        for line in lines
    )
    assert any(line.startswith(f"main  {BUSYBOX}  exit 0  ") for line in lines)
    assert "  pre 0 (prepare) | ready" in lines and "  main | hello world" in lines
    assert lines.index("  pre 0 (prepare) | ready") < lines.index("  main | hello world")
    assert lines[-2].startswith("COMPLETED in ") and lines[-1] == "result: hello world"


RETRIED = f"""
name: tries
image: {BUSYBOX}
pre: [{{name: get, image: {BUSYBOX}, cmd: [echo, got]}}]
run: "echo this is $FERRYMAN_ATTEMPT; printf unended; test $FERRYMAN_ATTEMPT = 2"
retry: {{limit: 3, initialDelay: 200ms}}
"""


def test_retries_are_told_with_their_delay_after_the_log_of_their_attempt(server: Standalone) -> None:
    done = run(server, "submit", "-", "--follow", text=RETRIED)
    lines = [re.sub(r"exit (.)  .*", r"exit \1", line) for line in done.stdout.splitlines()]
    # A link that ends before it is looked at is never shown as running.
    lines = [line.replace(BUSYBOX, "B") for line in lines if not line.endswith("  running")]
    assert done.returncode == 0, done.stderr
    chain = ["  pre 0 (get) | got", "pre 0 (get)  B  exit 0"]
    expected = [
        *chain, "  main | this is 1", "  main | unended",
        "attempt 1 ended: main: exit code 1; retry 1 of 3 in 0.2 s", "attempt 2 of 4",
        *chain, "  main | this is 2", "  main | unended", "main  B  exit 0",
    ]  # fmt: skip
    assert lines[3:-4] == expected
    id = json.loads(run(server, "ls", "--json").stdout)["items"][0]["id"]
    shown = run(server, "show", id).stdout
    assert re.search(r"^  attempt   2 of 4$", shown, re.M), shown
    assert re.search(r"^  attempt   1  FAILED  .* m?s  main: exit code 1$", shown, re.M), shown
    logs = [
        (("--link", "main", "--attempt", "1"), "this is 1\nunended"),
        (("-l", "get", "-a", "2"), "got\n"),
        (("-l", "1", "-n", "1"), "unended"),
        (("-a", "2", "-n", "2"), "this is 2\nunended"),
    ]
    for words, text in logs:
        assert run(server, "logs", id, *words).stdout == text
        assert run(server, "logs", id, "-f", *words).stdout == text
        stamped = run(server, "logs", id, "-f", "-t", *words).stdout
        assert stamped == run(server, "logs", id, "-t", *words).stdout
        assert re.sub(r"(?m)^2\S+Z ", "", stamped) == text
    unknown = run(server, "logs", id, "--link", "mian")
    assert unknown.returncode == 2
    assert "no link is called 'mian': the links of this task are pre 0 (get), main" in unknown.stderr


def test_a_queue_that_no_worker_serves_is_named_wherever_the_task_is_shown(server: Standalone) -> None:
    reason = (
        "no worker serves the queue gpuu (served are default); start one: celery -A engine worker -Q gpuu"
    )
    sent = run(server, "submit", "-", text=HELLO + "queue: gpuu\n")
    assert sent.returncode == 0 and reason in sent.stdout.splitlines()
    id = sent.stdout.splitlines()[1].split()[0]
    assert f"  waits     {reason}" in run(server, "show", id).stdout.splitlines()
    assert f"({reason})" in run(server, "ls").stdout.splitlines()[1]
    words = [*FERRYMAN, "submit", "-", "--follow"]
    with subprocess.Popen(words, env=server.env, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(HELLO + "queue: gpuu\n")
        process.stdin.close()
        assert any(line == f"  {reason}\n" for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    for job in json.loads(run(server, "ls", "--json").stdout)["items"][:2]:
        assert job["waiting"]["code"] == "unserved"
        assert run(server, "cancel", job["id"]).returncode == 0


def test_an_empty_file_and_a_short_id_are_refused_in_a_sentence(server: Standalone) -> None:
    empty = run(server, "submit", "-", text=" \n")
    assert (empty.returncode, empty.stderr.split(":")[0]) == (2, "standard input is empty")
    short = run(server, "show", "abc")
    assert short.returncode == 1
    assert (
        "'abc' is too short for an id of a job or task: give at least its first 4 characters" in short.stderr
    )


def test_a_cancelled_task_shows_how_long_its_container_ran(server: Standalone) -> None:
    id = submitted(server, LONG)
    wait_until(lambda: "begun" in run(server, "logs", id).stdout, 20)
    assert run(server, "cancel", id).stdout == f"{id}  CANCELLED  long\n"
    assert run(server, "cancel", id).stdout == f"{id}  CANCELLED  long  (it was cancelled before)\n"
    assert re.search(
        r"link      main  \S+  cancelled after [\d.]+ m?s(, exit 1\d\d .*)?$",
        run(server, "show", id).stdout,
        re.M,
    )


def test_a_terminal_gets_a_display_that_is_rewritten_in_place(server: Standalone, tmp_path: Path) -> None:
    file = tmp_path / "hello.yaml"
    file.write_text(f"name: say hello\nimage: {BUSYBOX}\nrun: sleep 1; echo hello world\n")
    status, screen = run_on_terminal(
        [*FERRYMAN, "submit", str(file), "--follow"], server.env | {"TERM": "xterm-256color"}
    )
    assert status == 0 and "\x1b[2K" in screen and "✓" in screen
    end = screen[screen.rindex("✓") :]
    assert "COMPLETED in " in end and "result: hello world" in end


def test_a_failure_names_link_exit_code_last_lines_and_a_remedy(server: Standalone) -> None:
    text = f"name: breaks\nimage: {BUSYBOX}\nrun: |\n  echo one last word\n  no-such-command\n"
    done = run(server, "submit", "-", "--follow", text=text)
    assert done.returncode == 1
    assert "FAILED in " in done.stdout and "failed at main: exit 127 (command not found)" in done.stdout
    assert (
        "  one last word" in done.stdout
        and "try: check that the image has the first word of cmd" in done.stdout
    )


def test_submit_reports_problems_as_validate_does(server: Standalone, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text(f"name: x\nimage: {BUSYBOX}\ntimeout: 5 parsecs\n")
    sent, checked = run(server, "submit", str(file)), run(server, "validate", str(file))
    assert sent.returncode == checked.returncode == 2
    assert sent.stderr == checked.stderr and "5 parsecs" in sent.stderr


def test_submit_prints_json_for_other_programs(server: Standalone) -> None:
    task = json.loads(run(server, "submit", "-", "--json", "--follow", text=HELLO).stdout)
    assert (task["state"], task["result"]) == ("COMPLETED", "hello world")


def test_ctrl_c_while_following_prints_how_to_follow_again(server: Standalone) -> None:
    words = [*FERRYMAN, "submit", "-", "--follow"]
    with subprocess.Popen(words, env=server.env, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(LONG)
        process.stdin.close()
        assert any("begun" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr and "ferryman logs " in process.stderr.read()
    job = next(j for j in json.loads(run(server, "ls", "--json").stdout)["items"] if j["name"] == "long")
    assert job["state"] == "RUNNING"
    cancelled = run(server, "cancel", job["id"])
    assert cancelled.returncode == 0 and "CANCELLED" in cancelled.stdout
    wait_until(lambda: server.client.job(job["id"])["state"] == "CANCELLED", 5)


def test_logs_are_the_bytes_that_the_container_wrote(server: Standalone) -> None:
    text = f"name: talks\nimage: {BUSYBOX}\nrun: |\n  printf 'a\\tb\\n\\033[31mred\\033[0m\\n'\n  echo end\n"
    id = submitted(server, text)
    followed = ferryman("logs", id, "-f", env=server.env)
    assert followed.returncode == 0 and followed.stdout == "a\tb\n\x1b[31mred\x1b[0m\nend\n"
    wait_until(lambda: server.client.task(id)["state"] == "COMPLETED", 10)
    assert ferryman("logs", id[:8], env=server.env).stdout == followed.stdout
    assert ferryman("logs", id, "--tail", "1", env=server.env).stdout == "end\n"
    stamped = ferryman("logs", id, "-t", "-n", "1", env=server.env).stdout
    assert stamped.endswith(" end\n") and stamped[:2] == "20"


def test_show_prints_links_result_and_attempt_for_a_shortened_id(server: Standalone) -> None:
    id = submitted(server, HELLO)
    wait_until(lambda: server.client.task(id)["state"] == "COMPLETED", 30, 0.1)
    shown = run(server, "show", id[:8]).stdout
    assert shown.startswith("say hello\n") and f"  task      {id}" in shown
    assert "  attempt   1 of 1" in shown and "  result    hello world" in shown
    assert f"  link      main  {BUSYBOX}  exit 0" in shown
    assert json.loads(run(server, "show", id, "--json").stdout)["id"] == id


def test_ls_shows_jobs_newest_first_and_filters(server: Standalone) -> None:
    id = submitted(server, HELLO.replace("say hello", "needle 4711"))
    wait_until(lambda: server.client.task(id)["state"] == "COMPLETED", 30, 0.1)
    header, job = run(server, "ls", "--size", "1").stdout.splitlines()[:2]
    assert header.split() == ["ID", "STATE", "CREATED", "TOOK", "NAME"] and "needle 4711" in job
    assert run(server, "ls", "--size", "1", "--page", "900").stdout.startswith(
        "there is no page 900\nthe last page is "
    )
    assert len(run(server, "ls", "-q", "4711", "--state", "completed").stdout.splitlines()) == 2
    assert run(server, "ls", "-q", "no such thing").stdout == "no jobs match\n"


def test_names_cannot_control_the_terminal(server: Standalone) -> None:
    hostile = HELLO.replace("say hello", '"\\e[2J\\e]0;owned\\a\u202e trick"')
    done = ferryman("submit", "-", "--follow", text=hostile, env=server.env)
    listed = ferryman("ls", env=server.env)
    for output in (done.stdout + done.stderr, listed.stdout):
        assert not set(output) & set("\x1b\x07\u202e")


def test_an_unknown_id_and_a_finished_task_are_errors_of_one_line(server: Standalone) -> None:
    for command in ("show", "logs", "cancel"):
        done = run(server, command, "feedfeedfeed")
        assert done.returncode == 1 and "feedfeedfeed" in done.stderr and done.stderr.count("\n") == 1
    id = submitted(server, HELLO)
    wait_until(lambda: server.client.task(id)["state"] == "COMPLETED", 30, 0.1)
    refused = run(server, "cancel", id)
    assert refused.returncode == 1 and "COMPLETED" in refused.stderr


def test_without_an_api_the_error_says_what_to_start_or_set(tmp_path: Path) -> None:
    env = environment(tmp_path, FERRYMAN_API_URL="http://127.0.0.1:9")
    done = ferryman("ls", env=env)
    assert done.returncode == 1 and "http://127.0.0.1:9" in done.stderr
    assert "ferryman standalone" in done.stderr and "FERRYMAN_API_URL" in done.stderr


def test_doctor_finds_no_problem_with_a_running_stand_alone(server: Standalone) -> None:
    done = run(server, "doctor")
    assert done.returncode == 0, done.stdout
    for check in ("docker", "cgroups", "broker", "database"):
        assert f"  ok    {check:<8}" in done.stdout or check == "cgroups"


def test_doctor_names_queues_without_a_worker(server: Standalone) -> None:
    id = submitted(server, HELLO + "queue: transcoding\n")
    done = run(server, "doctor")
    remedy = "try: celery -A engine worker -Q transcoding -c 3"
    message = f"1 task waiting, but no worker serves the queue\n{'':<19}{remedy}\n"
    assert done.returncode == 0 and f"  warn  queue transcoding   {message}" in done.stdout
    # Other warnings are the daemon's: how many depends on the host.
    warnings = len(re.findall(r"^  warn  ", done.stdout, re.MULTILINE))
    assert done.stdout.endswith(f"\n0 failures, {warnings} warning{'s' * (warnings != 1)}\n")
    assert run(server, "cancel", id).returncode == 0


def test_doctor_gives_each_failure_a_remedy_and_exits_1(tmp_path: Path) -> None:
    env = environment(
        tmp_path,
        FERRYMAN_DOCKER_HOST="unix:///nowhere/docker.sock",
        FERRYMAN_BROKER_URL="redis://:geheim@127.0.0.1:9/0",
        FERRYMAN_DATABASE_URL="postgresql+psycopg://me:geheim@127.0.0.1:9/none",
    )
    done = ferryman("doctor", env=env)
    assert done.returncode == 1 and done.stdout.endswith("3 failures, 0 warnings\n"), (
        done.stdout + done.stderr
    )
    assert "geheim" not in done.stdout
    remedies = {
        "docker": "FERRYMAN_DOCKER_HOST",
        "broker": "FERRYMAN_BROKER_URL",
        "database": "FERRYMAN_DATABASE_URL",
    }
    lines = done.stdout.splitlines()
    for check, remedy in remedies.items():
        number = next(i for i, line in enumerate(lines) if line.startswith(f"  FAIL  {check}"))
        assert lines[number + 1].startswith(f"{'':<19}try: ") and remedy in lines[number + 1]
    findings = json.loads(ferryman("doctor", "--json", env=env).stdout)
    assert [f["status"] for f in findings] == ["ok"] + ["FAIL"] * 3
    assert "broker from FERRYMAN_BROKER_URL" in findings[0]["message"]


def test_run_leaves_nothing_behind(tmp_path: Path) -> None:
    env = environment(tmp_path, TMPDIR=str(tmp_path))
    done = ferryman("run", "-", env=env, text=HELLO + "queue: special\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "result: hello world"
    assert list(tmp_path.iterdir()) == [], "files are left"


def test_run_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    env = environment(tmp_path, TMPDIR=str(tmp_path))
    with subprocess.Popen(
        [*FERRYMAN, "run", "-"], env=env, stdin=-1, stdout=-1, stderr=-1, text=True
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(LONG)
        process.stdin.close()
        assert any("begun" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "have been removed" in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def test_run_of_a_task_that_fails_exits_1_and_of_a_broken_file_2(tmp_path: Path) -> None:
    env = environment(tmp_path)
    assert ferryman("run", "-", env=env, text=HELLO.replace("echo", "false")).returncode == 1
    assert ferryman("run", "-", env=env, text="name: x\n").returncode == 2
