"""The task format as marshmallow schemas, and `check`: from a text to a TaskSpec, or to all its problems.

The schemas also document the API. Their attributes have the format's own names (camelCase), so `stored.load` reads
what they return.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

from marshmallow import ValidationError, validates_schema

from engine.jobspec import container_paths, line_ends, quantities, stored, text_rules
from engine.jobspec.document import MOST_BYTES, Media
from engine.jobspec.document import load as load_document
from engine.jobspec.fields import (
    Choice,
    Flag,
    Group,
    Groups,
    Quantity,
    Text,
    TextMap,
    Texts,
    Whole,
    kind_of,
)
from engine.jobspec.host_access import check_host_access
from engine.jobspec.nested import LimitsSchema, MountSchema, RetrySchema, Strict
from engine.jobspec.problems import Fault, Invalid, Path, problem_at
from engine.jobspec.task import HostAccess, TaskSpec

MOST_FILE_CHARACTERS = 256 << 10
MOST_FILES_BYTES = 512 << 10
#: Linux bounds arguments and environment together by a quarter of the stack; the image's own need room too.
MOST_EXEC_BYTES = 1 << 20

_IMAGE = "image: ubuntu:24.04"
_CMD = "cmd: [echo, hello]; a line for the shell goes into run:"


class _LinkFields(Strict):
    """Fields of one container."""

    description = Text("description: converts a film", "For people", 4096, rule=text_rules.description_fault)
    image = Text(
        _IMAGE,
        "Image reference",
        text_rules.MOST_IMAGE_CHARACTERS,
        rule=text_rules.image_fault,
        required=True,
    )
    cmd = Texts(_CMD, "Command, or arguments of the entrypoint", 1000, rule=text_rules.argument_fault)
    entrypoint = Texts(
        "entrypoint: [python3]", "Replaces the image's entrypoint", 1000, rule=text_rules.argument_fault
    )
    run = Text(
        "run: echo hello",
        "Script that runs instead of cmd",
        MOST_FILE_CHARACTERS,
        text_rules.run_fault,
    )
    env = TextMap("env: {KEY: value}", "Environment variables", 1000, rule=text_rules.env_fault)
    files = TextMap("files: {name.txt: content}", "Files in the working directory", 100)
    workdir = Text("workdir: /app", "Working directory", 256, rule=container_paths.workdir_fault)
    user = Text(
        "user: 1000:1000", "User that runs the container", 128, rule=text_rules.user_fault, loose=True
    )
    timeout = Quantity("timeout: 10m", "Time-out", quantities.duration_seconds)
    pull = Choice("pull: always", "When to pull the image", ("missing", "always"))
    init = Flag("init: false", "Whether Docker's init is process 1; false for images that must be process 1")

    @validates_schema(skip_on_field_errors=False)
    def _across_fields(self, data: Mapping[str, Any], **_: Any) -> None:
        faults: dict[str, Any] = {}
        if "run" in data and "cmd" in data:
            hint = "keep one of them: run is a script, cmd a command with arguments"
            faults["run"] = [Fault("run and cmd are both set", hint)]
        if "timeout" in data and quantities.duration_seconds(data["timeout"]) <= 0:
            faults["timeout"] = [Fault("the time-out must be above 0 s", "write timeout: 10m, or remove it")]
        if data.get("entrypoint") == [] or data.get("entrypoint", [None])[0] == "":
            hint = "write entrypoint: [python3], or remove it"
            faults["entrypoint"] = [Fault("the entrypoint names no program", hint)]
        if (size := _exec_bytes(data)) > MOST_EXEC_BYTES:
            message = f"env, entrypoint and cmd have {size} bytes, at most {MOST_EXEC_BYTES} can be passed"
            faults["env"] = [Fault(message, "move large values into files")]
        if file_faults := _file_faults(data.get("files", {}), data.get("workdir", container_paths.WORKDIR)):
            faults["files"] = file_faults
        if faults:
            raise ValidationError(faults)


def _exec_bytes(link: Mapping[str, Any]) -> int:
    pairs = link.get("env", {}).items()
    texts = [f"{key}={value}" for key, value in pairs] + link.get("cmd", []) + link.get("entrypoint", [])
    return sum(len(text.encode(errors="replace")) + 1 for text in texts)


def _file_faults(files: Mapping[str, str], workdir: str) -> Any:
    faults: dict[str, Any] = {}
    for name, content in files.items():
        fault = text_rules.file_name_fault(name) or container_paths.file_place_fault(workdir, name)
        if fault is None and len(content) > MOST_FILE_CHARACTERS:
            message = f"the file has {len(content)} characters, at most {MOST_FILE_CHARACTERS} are allowed"
            fault = Fault(message, "put large files into the image or a mount")
        if fault is None and line_ends.is_script_file(content):
            fault = line_ends.line_end_fault(content)
        if fault is None and any(folder in files for folder in _folders(name)):
            fault = Fault("another file has the name of this file's folder", "rename one of them")
        if fault is not None:
            faults[name] = [fault]
    size = sum(len(content.encode(errors="replace")) for content in files.values())
    if not faults and size > MOST_FILES_BYTES:
        message = f"the files have {size} bytes, at most {MOST_FILES_BYTES} are allowed"
        return [Fault(message, "put large files into the image or a mount")]
    return faults


def _folders(name: str) -> Iterable[str]:
    parts = name.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


class PreSchema(_LinkFields):
    """Container that runs before the main one and shares its volumes."""

    what = "pre"
    name = Text("name: fetch the input", "For people", 256, rule=text_rules.name_fault)


class PostSchema(PreSchema):
    """Container that runs after the main one and shares its volumes."""

    what = "post"
    always = Flag("always: true", "Run it even after a failed link")


class TaskSchema(_LinkFields):
    """Task: its main container, pre and post, and where and how they run."""

    what = "task"
    name = Text("name: say hello", "For people", 256, rule=text_rules.name_fault, required=True)
    queue = Text(
        "queue: default",
        "Queue of the workers that may run the task",
        64,
        rule=text_rules.queue_fault,
        loose=True,
    )
    priority = Whole("priority: 5", "0 to 9; the highest goes first", 0, 9)
    volumes = Texts(
        "volumes: [/tmp]",
        "Paths where new volumes are mounted",
        64,
        rule=container_paths.directory_target_fault,
    )
    mounts = Groups(MountSchema, "mounts: [{type: volume, target: /data}]", "Mounts of all containers", 64)
    networks = Texts("networks: [backend]", "Docker networks that the containers join", 16)
    network = Choice("network: none", "none: no network at all", ("none",))
    shm = Quantity("shm: 64m", "Size of /dev/shm", partial(quantities.memory_bytes, least=4096))
    limits = Group(LimitsSchema, "limits: {memory: 512m}", "Limits of each container")
    retry = Group(RetrySchema, "retry: {limit: 3}", "Retry policy for failed attempts")
    pre = Groups(
        PreSchema,
        "pre: [{image: alpine:3.18.3, run: echo first}]",
        "Containers that run before the main one",
        50,
    )
    post = Groups(
        PostSchema,
        "post: [{image: alpine:3.18.3, run: echo last}]",
        "Containers that run after the main one",
        50,
    )
    tags = Texts("tags: [nightly]", "Words for searching", 64, rule=text_rules.tag_fault)
    var = Text("var: size", "Name of the result for later tasks", 64, rule=text_rules.var_fault)

    @validates_schema(skip_on_field_errors=False)
    def _one_network(self, data: Mapping[str, Any], **_: Any) -> None:
        if data.get("network") == "none" and data.get("networks"):
            fault = Fault("network: none and networks are both set", "keep one of them")
            raise ValidationError({"network": [fault]})


def check(text: bytes, media: Media, host_access: HostAccess, most_bytes: int = MOST_BYTES) -> TaskSpec:
    """Return the task of a text, if it is valid and may run here.

    Raises Invalid, and no other error: `malformed` when the text cannot be read, else with all problems, each at its
    key (a missing key: at the map where it is missing).
    """
    document = load_document(text, media, most_bytes)
    faults, checked = read(document.value, host_access)
    if faults or document.problems or checked is None:
        problems = [problem_at(path, fault, document.places) for path, fault in faults]
        raise Invalid([*problems, *document.problems])
    return stored.load(checked)


def read(
    value: Any, host_access: HostAccess, known: Any = None
) -> tuple[list[tuple[Path, str]], dict[str, Any] | None]:
    """Return the faults of a task that was read, and its checked fields.

    `known` is the task for the rules of the host access, where it is not `value`: of a job's task, without the texts
    that have expressions.
    """
    if not isinstance(value, dict):
        message = f"expected a map of fields, found {kind_of(value)}"
        return [((), Fault(message, f"write name: say hello and {_IMAGE}"))], None
    access_faults = check_host_access(value if known is None else known, host_access)
    try:
        checked = _schema().load(value)
    except ValidationError as exc:
        faults = list(flat(exc.messages, ()))
        paths = {path for path, _ in faults}
        return [*faults, *((path, fault) for path, fault in access_faults if path not in paths)], None
    return list(access_faults), dict(checked)


@cache
def _schema() -> TaskSchema:
    """Return the one schema object: it keeps no state, and creating one copies every field."""
    return TaskSchema()


def flat(messages: Any, path: Path) -> Iterable[tuple[Path, str]]:
    """Yield the faults in marshmallow's nested messages, each with its path."""
    if isinstance(messages, Mapping):
        for step, inner in messages.items():
            yield from flat(inner, path if step == "_schema" else (*path, step))
    else:
        yield from ((path, message) for message in messages)
