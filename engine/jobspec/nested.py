"""Schemas of the maps inside a task that are not links (limits, retry, mounts), and the base of all schemas."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, post_load, validates_schema

from engine.jobspec import container_paths, quantities, text_rules
from engine.jobspec.fields import (
    Choice,
    Quantity,
    Real,
    Text,
    TextMap,
    Whole,
    choice_fault,
    quantity_fault,
    required_fault,
)
from engine.jobspec.problems import Fault
from engine.jobspec.suggestions import unknown_field_fault

#: Looking for a similar name is slow, so only this many unknown fields of a map get a suggestion.
MOST_SUGGESTIONS = 10


class Strict(Schema):
    """Schema that refuses unknown fields, with a suggestion."""

    #: Name of the map in messages.
    what: ClassVar[str] = ""

    class Meta:
        unknown = RAISE

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """Replace marshmallow's message for unknown fields by our fault."""
        if isinstance(error.messages, dict) and isinstance(data, Mapping):
            unknown = [name for name in data if name not in self.load_fields and name in error.messages]
            for number, name in enumerate(unknown):
                known = self.load_fields if number < MOST_SUGGESTIONS else ()
                fault = unknown_field_fault(name, known, self.what)
                error.messages[name] = [fault]
                # A required field that is only misspelt is one problem, not two.
                for meant in [
                    known_name for known_name in known if fault.hint == f"did you mean {known_name}?"
                ]:
                    if meant not in data:
                        error.messages.pop(meant, None)


class LimitsSchema(Strict):
    """Limits of each container of the task."""

    what = "limits"
    cpus = Quantity('cpus: "1.5"', "CPUs; fractions are allowed", quantities.cpus)
    cpu = Quantity('cpus: "1.5"', "Another name of cpus", quantities.cpus)
    memory = Quantity(
        "memory: 512m",
        "Memory; b, k, m, g, t are powers of 1024; there is no swap in addition",
        partial(quantities.memory_bytes, least=quantities.MEMORY_LEAST_BYTES),
    )

    @validates_schema(skip_on_field_errors=False)
    def _one_name(self, data: Mapping[str, Any], **_: Any) -> None:
        if "cpu" in data and "cpus" in data:
            raise ValidationError({"cpu": [Fault("cpu and cpus are both set", "keep cpus")]})

    @post_load
    def _cpus(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "cpu" in data:
            data["cpus"] = data.pop("cpu")
        return data


class RetrySchema(Strict):
    """Retry policy for failed attempts."""

    what = "retry"
    limit = Whole("limit: 3", "Retries after the first attempt: with 1 the task runs at most twice", 0, 10)
    initialDelay = Quantity("initialDelay: 5s", "Delay before the first retry", quantities.duration_seconds)
    scalingFactor = Real("scalingFactor: 2", "Factor by which the delay grows with each retry", 1, 10)
    maxDelay = Quantity("maxDelay: 10m", "The longest delay", quantities.duration_seconds)
    jitter = Real("jitter: 0.2", "Random share of the delay", 0, 1)


class MountSchema(Strict):
    """Mount of the containers: a new volume, an allowed host path, or memory."""

    what = "mount"
    type = Choice("type: volume", "volume, bind or tmpfs", ("volume", "bind", "tmpfs"), required=True)
    target = Text(
        "target: /data",
        "Path in the container",
        container_paths.MOST_PATH_CHARACTERS,
        rule=container_paths.target_fault,
        required=True,
    )
    source = Text("source: /srv/media", "Host path of a bind", container_paths.MOST_PATH_CHARACTERS)
    opts = TextMap("opts: {size: 64m}", "tmpfs: size and mode; bind: mode, ro or rw", 8)

    @validates_schema(skip_on_field_errors=False)
    def _by_type(self, data: Mapping[str, Any], **_: Any) -> None:
        rules = {"volume": _volume_faults, "bind": _bind_faults, "tmpfs": _tmpfs_faults}
        kind = data.get("type")
        if kind is None:
            return
        faults = rules[kind](data)
        if kind != "bind" and (fault := container_paths.directory_target_fault(data.get("target", "/data"))):
            faults["target"] = [fault]
        if faults:
            raise ValidationError(faults)


def _volume_faults(mount: Mapping[str, Any]) -> dict[str, Any]:
    faults: dict[str, Any] = {}
    if "source" in mount:
        faults["source"] = [
            Fault(
                "a volume takes no source, because each attempt gets a new volume",
                "remove it, or write type: bind",
            )
        ]
    if mount.get("opts"):
        faults["opts"] = [Fault("a volume takes no opts: they could mount a host path", "remove them")]
    return faults


def _bind_faults(mount: Mapping[str, Any]) -> dict[str, Any]:
    faults = _opts_faults(mount, {"mode": _bind_mode_fault})
    source = mount.get("source")
    if source is None:
        faults["source"] = [required_fault("source: /srv/media")]
    elif (fault := container_paths.source_fault(source)) is not None:
        faults["source"] = [fault]
    return faults


def _tmpfs_faults(mount: Mapping[str, Any]) -> dict[str, Any]:
    faults = _opts_faults(mount, {"size": _size_fault, "mode": text_rules.mode_fault})
    if "source" in mount:
        faults["source"] = [Fault("a tmpfs takes no source", "remove it")]
    return faults


def _opts_faults(mount: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    faults: dict[str, Any] = {}
    for name, value in mount.get("opts", {}).items():
        rule = rules.get(name)
        fault = unknown_field_fault(name, rules, "opts") if rule is None else rule(value)
        if fault is not None:
            faults[name] = [fault]
    return {"opts": faults} if faults else {}


def _bind_mode_fault(mode: str) -> Fault | None:
    return choice_fault(mode, ("ro", "rw"), "mode: ro")


def _size_fault(size: str) -> Fault | None:
    return quantity_fault(size, partial(quantities.memory_bytes, least=4096))
