"""Texts that must pass, and their meaning."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from engine.jobspec import document, nested, schema, stored
from engine.jobspec.host_access import host_access_from
from engine.jobspec.task import HostAccess, Limits, LinkSpec, Mount, Retry, TaskSpec

EXAMPLES = Path(__file__).parents[3] / "examples"
HOST_ACCESS = host_access_from(
    ("/srv/media", "/srv/out:rw"), ("backend",), ("/var/lib/ferryman",), images=("*",)
)
EVERYTHING = """\
name: everything
description: |
  two lines,
  and a tab\tin one
image: registry.example.org:5000/team/tool_x/y-z:1.2@sha256:{digest}
entrypoint: [/bin/sh, -c]
cmd: [echo, -n, 5, 1.50, true, 0x1F, "", null-and-void]
env: {{PORT: 8080, V: 3.10, ON: true, QUOTED: "yes", SEXAGESIMAL: 12:30, OCTAL: 0755, DATE: 2024-01-01, U: 1_000}}
files: {{data/in.txt: "x", config.json: "{{}}"}}
workdir: /app/x
user: 1000
queue: transcoding
priority: 9
pull: always
init: false
volumes: [/tmp, "/with space"]
mounts:
- {{type: volume, target: /data}}
- {{type: bind, source: /srv/media/films, target: /films, opts: {{mode: ro}}}}
- {{type: bind, source: /srv/out, target: /out, opts: {{mode: rw}}}}
- {{type: tmpfs, target: /dev/shm/x, opts: {{size: 64m, mode: 0755}}}}
networks: [backend]
shm: 64m
limits: {{cpus: 1.5, memory: 1.5g}}
timeout: 1h30m
retry: {{limit: 3, initialDelay: 1.5s, scalingFactor: 3, maxDelay: 10m, jitter: 0.5}}
pre:
- image: alpine:3.18.3
  run: |
    #!/bin/sh
    echo first
  timeout: 5m
post:
- {{name: clean up, description: always, image: busybox, cmd: [], user: "nobody:nogroup", always: true}}
tags: [nightly, 2024]
var: size
""".format(digest="a" * 64).encode()


def check(
    text: str | bytes, media: document.Media = "yaml", host_access: HostAccess = HOST_ACCESS
) -> TaskSpec:
    return schema.check(text.encode() if isinstance(text, str) else text, media, host_access)


def test_hello_is_read_as_it_is() -> None:
    main = LinkSpec(image="ubuntu:mantic", cmd=("echo", "-n", "hello world"))
    assert check((EXAMPLES / "hello.yaml").read_bytes()) == TaskSpec(name="say hello", main=main)


def test_convert_is_a_chain_of_three_with_a_volume() -> None:
    task = check((EXAMPLES / "convert.yaml").read_bytes())
    assert [kind for kind, _ in task.links] == ["pre", "main", "post"]
    assert task.volume_targets == ("/tmp",)
    assert task.main.cmd == ("-i", "/tmp/input.ogv", "-t", "5", "/tmp/output.mp4")
    assert task.pre[0].name == "download the remote file"


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ('run: "a\n%TAG b\n"', "a %TAG b "),
        ("run: 'a\n%TAG ! b'", "a %TAG ! b"),
        ("run: |\n  a\n  %TAG ! b", "a\n%TAG ! b"),
        ("run: |1\n %TAG ! b", "%TAG ! b"),
        ("# %TAG ! a\nrun: a", "a"),
    ],
)
def test_a_text_may_have_a_line_that_looks_like_a_directive(text: str, run: str) -> None:
    assert check(f"name: x\nimage: y\n{text}\n").main.run.rstrip("\n") == run


def test_every_field_is_read() -> None:
    task = check(EVERYTHING)
    assert task.main.cmd == ("echo", "-n", "5", "1.50", "true", "0x1F", "", "null-and-void")
    assert (task.main.user, task.main.init, task.pre[0].init) == ("1000", False, True)
    assert task.mounts == (
        Mount("volume", "/data"),
        Mount("bind", "/films", "/srv/media/films", {"mode": "ro"}),
        Mount("bind", "/out", "/srv/out", {"mode": "rw"}),
        Mount("tmpfs", "/dev/shm/x", None, {"size": "64m", "mode": "0755"}),
    )
    assert task.limits == Limits("1.5", "1.5g")
    assert task.retry == Retry(3, "1.5s", 3.0, "10m", 0.5)
    assert (task.queue, task.priority, task.shm, task.var) == ("transcoding", 9, "64m", "size")
    assert (task.networks, task.network) == (("backend",), None)
    assert task.tags == ("nightly", "2024")
    assert (task.timeout_seconds, task.pre[0].timeout_seconds, task.post[0].timeout_seconds) == (
        5400,
        300,
        None,
    )
    assert task.post[0].always and task.post[0].cmd == ()
    assert task.volume_targets == ("/tmp", "/with space", "/data")


@pytest.mark.parametrize(
    ("schema_type", "record"),
    [
        (schema.PostSchema, LinkSpec),
        (nested.MountSchema, Mount),
        (nested.LimitsSchema, Limits),
        (nested.RetrySchema, Retry),
    ],
)
def test_a_schema_has_the_fields_of_its_record(schema_type: type[nested.Strict], record: Any) -> None:
    names = {
        re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name) for name in schema_type().load_fields
    }
    assert names - {"cpu"} == {field.name for field in fields(record)}


def test_the_schema_of_a_task_has_its_fields_and_those_of_its_main_container() -> None:
    names = {field.name for kind in (TaskSpec, LinkSpec) for field in fields(kind)}
    assert set(schema.TaskSchema().load_fields) == names - {"main", "always"}


def test_scalars_of_yaml_mean_their_source_text_where_a_text_is_wanted() -> None:
    assert check(EVERYTHING).main.env == {
        "PORT": "8080",
        "V": "3.10",
        "ON": "true",
        "QUOTED": "yes",
        "SEXAGESIMAL": "12:30",
        "OCTAL": "0755",
        "DATE": "2024-01-01",
        "U": "1_000",
    }


def test_numbers_of_json_mean_their_source_text_too() -> None:
    text = '{"name": "x", "image": "y", "env": {"V": 3.10, "E": 1e3, "B": false, "N": 00}}'.replace("00", "0")
    assert check(text, "json").main.env == {"V": "3.10", "E": "1e3", "B": "false", "N": "0"}


def test_what_is_stored_is_json_and_leads_back_to_the_same_task() -> None:
    task = check(EVERYTHING)
    dumped = stored.dump(task)
    assert stored.load(json.loads(json.dumps(dumped))) == task
    assert check(json.dumps(dumped), "json") == task
    assert dumped["retry"]["initialDelay"] == "1.5s"


def test_only_what_was_asked_for_is_stored() -> None:
    task = check(
        '{"name": "x", "image": "y", "priority": 0, "limits": {"cpu": 2}, "retry": {"limit": 1}}', "json"
    )
    assert stored.dump(task) == {
        "name": "x",
        "image": "y",
        "limits": {"cpus": "2"},
        "retry": {"limit": 1},
    }


@pytest.mark.parametrize("word", ["true", "True", "TRUE"])
def test_always_is_true_in_the_three_ways_of_yaml(word: str) -> None:
    assert check(f"name: x\nimage: y\npost: [{{image: z, always: {word}}}]").post[0].always


@pytest.mark.parametrize(
    "image",
    [
        "ubuntu",
        "ubuntu:24.04",
        "jrottenberg/ffmpeg:3.4-scratch",
        "localhost/x",
        "localhost:5000/x/y:z",
        "Registry.Example.org/x",
        "x/a.b-c__d/e---f",
        f"x@sha256:{'0' * 64}",
        f"x:y@sha512:{'0' * 128}",
        f"{'a' * 250}:{'t' * 128}",
    ],
)
def test_references_that_docker_reads_are_accepted(image: str) -> None:
    assert check(json.dumps({"name": "x", "image": image}), "json").main.image == image


@pytest.mark.parametrize("user", ["0", "1000:1000", "nobody", "www-data:www-data", "2147483647"])
def test_users_by_number_and_by_name_are_accepted(user: str) -> None:
    assert check(f"name: x\nimage: y\nuser: {user}").main.user == user


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    assert check(b"\xef\xbb\xbfname: x\r\nimage: y\r\n").name == "x"
    assert check(b'\xef\xbb\xbf{"name": "x",\r\n "image": "y"}', "json").name == "x"


def test_a_description_may_have_lines_of_any_kind() -> None:
    assert (
        check('{"name": "x", "image": "y", "description": "a\\r\\nb\\nc"}', "json").description == "a\r\nb\nc"
    )


def test_names_in_any_script_are_names() -> None:
    assert check("name: Größe 测试 🚢\nimage: y").name == "Größe 测试 🚢"


def test_pairs_of_surrogates_in_json_are_one_character() -> None:
    assert check('{"name": "\\ud83d\\udea2", "image": "y"}', "json").name == "🚢"


def test_one_document_may_have_its_marks() -> None:
    assert check("%YAML 1.1\n---\nname: x\nimage: y\n...\n").name == "x"


def test_the_network_may_be_switched_off() -> None:
    assert check("name: x\nimage: y\nnetwork: none\nnetworks: []").network == "none"


def test_python_values_pass_the_schema_as_json_does() -> None:
    given = {
        "name": "x",
        "image": "y",
        "env": {"A": True, "B": 2.5},
        "post": [{"image": "z", "always": True}],
    }
    assert schema.TaskSchema().load(given)["env"] == {"A": "true", "B": "2.5"}


def test_numbers_outside_the_core_schema_are_read_as_in_yaml_1_2() -> None:
    read = document.load(b"[1, -2, +3, .5, 1., 1e3, .inf, -.inf, 0o17, ~, null, Null, no, '5', -]", "yaml")
    typed = [item.value if isinstance(item, document.Scalar) else item for item in read.value[:-1]]
    assert typed == [
        1,
        -2,
        3,
        0.5,
        1.0,
        1000.0,
        float("inf"),
        -float("inf"),
        "0o17",
        None,
        None,
        None,
        "no",
        "5",
    ]


def test_a_list_of_json_may_be_empty_or_nested() -> None:
    assert document.load(b'{"a": [], "b": {}, "c": [[{"d": null}]]}', "json").value == {
        "a": [],
        "b": {},
        "c": [[{"d": None}]],
    }


@pytest.mark.parametrize(
    "fields",
    [
        "workdir: /dev/shm/x\nfiles: {a: x}",
        "workdir: /etc\nfiles: {hosts: x}",
        "workdir: /ferryman/out",
        "workdir: /etc/hostnames",
        "mounts: [{type: bind, source: /srv/media/hosts, target: /etc/hosts}]",
        "workdir: /app\nvolumes: [/app/a, /dev/shm/x]\nfiles: {a/b: x, ab: x}",
    ],
)
def test_places_that_docker_can_make_are_taken(fields: str) -> None:
    assert check(f"name: x\nimage: y\n{fields}\n").name == "x"
