"""Laws that hold for every task and every text."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.jobspec import document, schema, stored
from engine.jobspec.host_access import host_access_from
from engine.jobspec.problems import Invalid
from engine.jobspec.task import Limits, LinkSpec, Mount, Retry, TaskSpec

HOST_ACCESS = host_access_from(("/srv/media", "/srv/out:rw"), ("backend",), ("/var/lib/ferryman",))

storable: Any = st.characters(exclude_categories=("Cs",), exclude_characters="\0")  # type: ignore[arg-type]
texts = st.text(storable, max_size=12)
words = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
text_maps = st.dictionaries(words, texts, max_size=3)
text_lists = st.lists(texts, max_size=3).map(tuple)
durations = st.sampled_from(["5s", "1h30m", "100ms"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def links(named: bool, always: bool) -> st.SearchStrategy[LinkSpec]:
    return st.builds(
        LinkSpec,
        name=maybe(words) if named else st.none(),
        description=maybe(words) if named else st.none(),
        image=words,
        cmd=maybe(text_lists),
        entrypoint=maybe(st.just(("sh", "-c"))),
        run=maybe(words),
        env=text_maps,
        files=text_maps,
        workdir=maybe(st.just("/app")),
        user=maybe(st.just("1000")),
        timeout=maybe(durations) if named else st.none(),
        pull=maybe(st.sampled_from(["missing", "always"])),
        always=st.booleans() if always else st.just(False),
    )


mounts = st.builds(
    Mount,
    type=st.sampled_from(["volume", "bind", "tmpfs"]),
    target=words,
    source=maybe(words),
    opts=text_maps,
)
tasks = st.builds(
    TaskSpec,
    name=words,
    main=links(named=False, always=False),
    description=maybe(texts),
    queue=maybe(words),
    priority=st.integers(0, 9),
    volumes=text_lists,
    mounts=st.lists(mounts, max_size=2).map(tuple),
    networks=text_lists,
    network=maybe(st.just("none")),
    shm=maybe(st.just("64m")),
    limits=st.builds(Limits, cpus=maybe(st.just("1.5")), memory=maybe(st.just("512m"))),
    timeout=maybe(durations),
    retry=st.builds(Retry, limit=st.integers(0, 10), initial_delay=durations, jitter=st.floats(0, 1)),
    pre=st.lists(links(named=True, always=False), max_size=2).map(tuple),
    post=st.lists(links(named=True, always=True), max_size=2).map(tuple),
    tags=text_lists,
    var=maybe(words),
)


@given(tasks)
@settings(max_examples=60)
def test_a_task_that_was_stored_is_the_same_when_it_is_read_back(task: TaskSpec) -> None:
    assert stored.load(json.loads(json.dumps(stored.dump(task)))) == task


GOOD = b"""\
name: convert
image: jrottenberg/ffmpeg:3.4-scratch
cmd: [-i, "/tmp/a b.ogv", -t, '5']
env: {PORT: 8080, "Q": 'x'}
volumes: [/tmp]
mounts:
  - {type: tmpfs, target: /x, opts: {size: 1m}}
retry: {limit: 3, initialDelay: 5s}
pre:
  - name: first
    image: alpine
    run: |
      #!/bin/sh
      echo hi
post: [{image: alpine, always: true}]
"""
GOOD_JSON = json.dumps(yaml.safe_load(GOOD)).encode()
SCRAPS = (
    *(sign.encode() for sign in "\0\t\n []{}\"'|>#~\\-,@`\u202e\ufeff"),
    b"", b"\xff", b": ", b"- ", b"&a ", b"*a", b"!!x ", b"---\n", b"...\n", b"%YAML 9", b"<<: ", b"? ", b"{{",
    b"\\u0000", b"\\ud800", b"1e999", b"9" * 5000, b"[" * 70, b"a: " * 70, b"null", b"true", b"0x",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, good: bytes) -> bytes:
    text = good
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + draw(st.sampled_from(SCRAPS) | st.binary(max_size=4)) + text[end:]
    return text


def passes_or_is_invalid(text: bytes, media: document.Media) -> None:
    try:
        task = schema.check(text, media, HOST_ACCESS)
    except Invalid as exc:
        assert exc.problems and all(p.hint and p.line >= 1 and p.column >= 1 for p in exc.problems)
    else:
        assert stored.load(json.loads(json.dumps(stored.dump(task)))) == task


@given(mutated(GOOD))
@settings(max_examples=200)
def test_a_mutated_yaml_is_a_task_or_invalid_and_nothing_else(text: bytes) -> None:
    passes_or_is_invalid(text, "yaml")


@given(mutated(GOOD_JSON))
@settings(max_examples=120)
def test_a_mutated_json_is_a_task_or_invalid_and_nothing_else(text: bytes) -> None:
    passes_or_is_invalid(text, "json")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
FIELDS = tuple(schema.TaskSchema().load_fields)


@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
@settings(max_examples=120)
def test_any_value_in_any_field_is_a_task_or_invalid_and_nothing_else(given_values: dict[str, Any]) -> None:
    text = json.dumps({"name": "x", "image": "y", **given_values}, allow_nan=True).encode()
    passes_or_is_invalid(text, "json")
    passes_or_is_invalid(text, "yaml")


plain_json = st.recursive(
    st.none() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(plain_json.filter(lambda value: value is not None), st.sampled_from([None, 1]))
@settings(max_examples=100)
def test_our_json_reader_reads_what_the_standard_one_reads(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    read = document.load(text.encode(), "json")
    assert read.value == json.loads(text)
    assert not read.problems


def test_the_pure_rooms_load_no_framework() -> None:
    names = ["celery", "kombu", "redis", "docker", "sqlalchemy", "flask"]
    code = (
        "import sys, engine.jobspec.schema, engine.model.records\n"
        f"print([name for name in {names!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "[]"
