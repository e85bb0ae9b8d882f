"""The task format as marshmallow schemas, and `check`: text -> TaskSpec, or every problem at once.

The schemas also document the API. Their attributes bear the format's own names (camelCase), so what they
let through is what `load` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

from marshmallow import ValidationError, validates_schema

from engine.jobspec import host_access as rules
from engine.jobspec import quantities, text_rules
from engine.jobspec.document import MOST_BYTES, Media
from engine.jobspec.document import load as load_document
from engine.jobspec.fields import Choice, Flag, Group, Groups, Quantity, Text, TextMap, Texts, Whole
from engine.jobspec.nested import LimitsSchema, MountSchema, RetrySchema, Strict
from engine.jobspec.problems import Fault, Invalid, Path, locate
from engine.jobspec.stored import dump, load
from engine.jobspec.task import HostAccess, TaskSpec

__all__ = [
    "LimitsSchema",
    "MountSchema",
    "PostSchema",
    "PreSchema",
    "RetrySchema",
    "TaskSchema",
    "check",
    "dump",
    "load",
]

MOST_FILE_CHARACTERS = 256 << 10
MOST_FILES_BYTES = 512 << 10
#: A quarter of the usual stack bounds arguments and environment together; the image's own need room too.
MOST_EXEC_BYTES = 1 << 20

_IMAGE = "image: ubuntu:24.04"
_CMD = "cmd: [echo, hello]; a line for the shell goes into run:"


class _LinkFields(Strict):
    """What one container runs."""

    description = Text("description: what it does", "For people", 4096, rule=text_rules.description_fault)
    image = Text(
        _IMAGE,
        "Image reference",
        text_rules.MOST_IMAGE_CHARACTERS,
        rule=text_rules.image_fault,
        required=True,
    )
    cmd = Texts(_CMD, "Arguments of the entrypoint, or the command", 1000, rule=text_rules.argument_fault)
    entrypoint = Texts(
        "entrypoint: [python3]", "Replaces the image's entrypoint", 1000, rule=text_rules.argument_fault
    )
    run = Text(
        "run: echo hello",
        "A script: written to a file that is run",
        MOST_FILE_CHARACTERS,
        text_rules.run_fault,
    )
    env = TextMap("env: {KEY: value}", "Environment variables", 1000, rule=text_rules.env_fault)
    files = TextMap("files: {name.txt: content}", "Files in the working directory", 100)
    workdir = Text("workdir: /app", "Working directory", 256, rule=text_rules.workdir_fault)
    user = Text("user: 1000:1000", "User that runs it", 128, rule=text_rules.user_fault, loose=True)
    timeout = Quantity("timeout: 10m", "Longest time", quantities.duration_seconds)
    pull = Choice("pull: always", "When to pull the image", ("missing", "always"))

    @validates_schema(skip_on_field_errors=False)
    def _fitting(self, data: Mapping[str, Any], **_: Any) -> None:
        faults: dict[str, Any] = {}
        if "run" in data and "cmd" in data:
            said = Fault(
                "run and cmd are both given", "keep one: run is a script, cmd the arguments of a command"
            )
            faults["run"] = [said]
        if "timeout" in data and quantities.duration_seconds(data["timeout"]) <= 0:
            faults["timeout"] = [Fault("it must be longer than nothing", "write timeout: 10m, or remove it")]
        if data.get("entrypoint") == [] or data.get("entrypoint", [None])[0] == "":
            faults["entrypoint"] = [Fault("it names no program", "write entrypoint: [python3], or remove it")]
        if (size := _exec_bytes(data)) > MOST_EXEC_BYTES:
            said = Fault(
                f"env and cmd have {size} bytes, at most {MOST_EXEC_BYTES} can be passed", "use files"
            )
            faults["env"] = [said]
        if found := _file_faults(data.get("files", {})):
            faults["files"] = found
        if faults:
            raise ValidationError(faults)


def _exec_bytes(link: Mapping[str, Any]) -> int:
    pairs = link.get("env", {}).items()
    texts = [f"{key}={value}" for key, value in pairs] + link.get("cmd", []) + link.get("entrypoint", [])
    return sum(len(text.encode(errors="replace")) + 1 for text in texts)


def _file_faults(files: Mapping[str, str]) -> Any:
    faults: dict[str, Any] = {}
    for name, content in files.items():
        fault = text_rules.file_name_fault(name)
        if fault is None and len(content) > MOST_FILE_CHARACTERS:
            what = f"it has {len(content)} characters, at most {MOST_FILE_CHARACTERS} may be"
            fault = Fault(what, "put large files into the image or a mount")
        if fault is None and any(folder in files for folder in _folders(name)):
            fault = Fault("another file is where this one needs a folder", "rename one of them")
        if fault is not None:
            faults[name] = [fault]
    size = sum(len(content.encode(errors="replace")) for content in files.values())
    if not faults and size > MOST_FILES_BYTES:
        what = f"the files have {size} bytes, at most {MOST_FILES_BYTES} may be"
        return [Fault(what, "put large files into the image or a mount")]
    return faults


def _folders(name: str) -> Iterable[str]:
    parts = name.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


class PreSchema(_LinkFields):
    """A container that runs before the main one and shares its volumes."""

    what = "pre"
    name = Text("name: fetch the input", "For people", 256, rule=text_rules.name_fault)


class PostSchema(PreSchema):
    """A container that runs after the main one and shares its volumes."""

    what = "post"
    always = Flag("always: true", "Run it although a link before it failed")


class TaskSchema(_LinkFields):
    """One task: its main container, its pre and post, and where and how it runs."""

    what = "task"
    name = Text("name: say hello", "For people", 256, rule=text_rules.name_fault, required=True)
    queue = Text(
        "queue: default", "Queue whose workers may take it", 64, rule=text_rules.queue_fault, loose=True
    )
    priority = Whole("priority: 5", "0 to 9, the highest goes first", 0, 9)
    volumes = Texts("volumes: [/tmp]", "Where fresh volumes are mounted", 64, rule=rules.target_fault)
    mounts = Groups(
        MountSchema, "mounts: [{type: volume, target: /data}]", "Mounts of all its containers", 64
    )
    networks = Texts("networks: [backend]", "Docker networks that it joins", 16)
    network = Choice("network: none", "none: no network at all", ("none",))
    shm = Quantity("shm: 64m", "Size of /dev/shm", partial(quantities.memory_bytes, least=4096))
    limits = Group(LimitsSchema, "limits: {memory: 512m}", "What each container may take")
    retry = Group(RetrySchema, "retry: {limit: 3}", "What follows a failed attempt")
    pre = Groups(PreSchema, "pre: [{image: alpine:3.18.3, run: echo first}]", "Containers before it", 50)
    post = Groups(PostSchema, "post: [{image: alpine:3.18.3, run: echo last}]", "Containers after it", 50)
    tags = Texts("tags: [nightly]", "Words to find it by", 64, rule=text_rules.tag_fault)
    var = Text("var: size", "Name of its result for later tasks", 64, rule=text_rules.var_fault)

    @validates_schema(skip_on_field_errors=False)
    def _one_network(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("network") == "none" and data.get("networks"):
            said = Fault("network: none and networks are both given", "keep one of them")
            raise ValidationError({"network": [said]})


def check(text: bytes, media: Media, host_access: HostAccess, most_bytes: int = MOST_BYTES) -> TaskSpec:
    """The task that a text asks for, when it may run here.

    Raises Invalid, and nothing else: `malformed` when the text cannot be read, else with every problem at
    once, each at its key (what is missing: at what it is missing from).
    """
    document = load_document(text, media, most_bytes)
    faults, checked = _faults(document.value, host_access)
    if faults or document.problems or checked is None:
        said = [locate(path, fault, document.places) for path, fault in faults]
        raise Invalid([*said, *document.problems])
    return checked


def _faults(value: Any, host_access: HostAccess) -> tuple[list[tuple[Path, str]], TaskSpec | None]:
    if not isinstance(value, dict):
        return [((), Fault("a task is a map of fields", f"write name: say hello and {_IMAGE}"))], None
    at_host = rules.check_host_access(value, host_access)
    try:
        checked = _schema().load(value)
    except ValidationError as exc:
        found = list(_flat(exc.messages, ()))
        named = {path for path, _ in found}
        return [*found, *((path, fault) for path, fault in at_host if path not in named)], None
    return list(at_host), load(checked)


@cache
def _schema() -> TaskSchema:
    """One for all: it keeps nothing of what it checks, and making it copies every field."""
    return TaskSchema()


def _flat(messages: Any, path: Path) -> Iterable[tuple[Path, str]]:
    if isinstance(messages, Mapping):
        for step, inner in messages.items():
            yield from _flat(inner, path if step == "_schema" else (*path, step))
    else:
        yield from ((path, message) for message in messages)
