"""The maps inside a task that are no containers: limits, retry, mounts; and what all maps share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from marshmallow import RAISE, Schema, ValidationError, post_load, validates_schema

from engine.jobspec import host_access as rules
from engine.jobspec import quantities, text_rules
from engine.jobspec.fields import Choice, Quantity, Real, Text, TextMap, Whole
from engine.jobspec.problems import Fault
from engine.jobspec.suggestions import unknown_field
from engine.wording.text import quoted

#: Looking for the nearest name is slow: beyond so many in one map, somebody plays.
MOST_SUGGESTIONS = 10


class Strict(Schema):
    """A map that knows its fields and says what to write for others."""

    #: What it is called in messages.
    what: ClassVar[str] = ""

    class Meta:
        unknown = RAISE

    def handle_error(self, error: ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """Put our words for unknown fields in place of marshmallow's."""
        if isinstance(error.messages, dict) and isinstance(data, Mapping):
            unknown = [name for name in data if name not in self.load_fields and name in error.messages]
            for number, name in enumerate(unknown):
                known = self.load_fields if number < MOST_SUGGESTIONS else ()
                error.messages[name] = [unknown_field(name, known, self.what)]


class LimitsSchema(Strict):
    """What each container of the task may take."""

    what = "limits"
    cpus = Quantity('cpus: "1.5"', "CPUs, parts allowed", quantities.cpus)
    cpu = Quantity('cpus: "1.5"', "The same as cpus", quantities.cpus)
    memory = Quantity(
        "memory: 512m",
        "Memory, b k m g t in powers of 1024; swap is not added",
        partial(quantities.memory_bytes, least=quantities.MEMORY_LEAST_BYTES),
    )

    @validates_schema(skip_on_field_errors=False)
    def _one_name(self, data: Mapping[str, Any], **_: Any) -> None:
        if "cpu" in data and "cpus" in data:
            raise ValidationError({"cpu": [Fault("cpu and cpus are both given", "keep cpus")]})

    @post_load
    def _cpus(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if "cpu" in data:
            data["cpus"] = data.pop("cpu")
        return data


class RetrySchema(Strict):
    """How often a failed attempt is tried again, and when."""

    what = "retry"
    limit = Whole("limit: 3", "Retries after the first attempt: 1 runs at most twice", 0, 10)
    initialDelay = Quantity("initialDelay: 5s", "Wait before the first retry", quantities.duration_seconds)
    scalingFactor = Real("scalingFactor: 2", "By what the wait grows with each retry", 1, 10)
    maxDelay = Quantity("maxDelay: 10m", "The longest wait", quantities.duration_seconds)
    jitter = Real("jitter: 0.2", "Share of the wait that is drawn at random", 0, 1)


class MountSchema(Strict):
    """A place in the container: a fresh volume, an allowed host path, or memory."""

    what = "mount"
    type = Choice("type: volume", "volume, bind or tmpfs", ("volume", "bind", "tmpfs"), required=True)
    target = Text(
        "target: /data",
        "Where in the container",
        rules.MOST_PATH_CHARACTERS,
        rule=rules.target_fault,
        required=True,
    )
    source = Text("source: /srv/media", "Host path of a bind", rules.MOST_PATH_CHARACTERS)
    opts = TextMap("opts: {size: 64m}", "tmpfs: size and mode; bind: mode, ro or rw", 8)

    @validates_schema(skip_on_field_errors=False)
    def _fitting(self, data: Mapping[str, Any], **_: Any) -> None:
        rules = {"volume": _volume_faults, "bind": _bind_faults, "tmpfs": _tmpfs_faults}
        kind = data.get("type")
        if kind is not None and (faults := rules[kind](data)):
            raise ValidationError(faults)


def _volume_faults(mount: Mapping[str, Any]) -> dict[str, Any]:
    faults: dict[str, Any] = {}
    if "source" in mount:
        faults["source"] = [Fault("a volume has no source: it is fresh", "remove it, or write type: bind")]
    if mount.get("opts"):
        faults["opts"] = [Fault("a volume has no opts: they could mount the host", "remove them")]
    return faults


def _bind_faults(mount: Mapping[str, Any]) -> dict[str, Any]:
    faults = _opts_faults(mount, {"mode": _bind_mode_fault})
    source = mount.get("source")
    if source is None:
        faults.setdefault("source", [Fault("it is missing", "write source: /srv/media")])
    elif (fault := rules.source_fault(source)) is not None:
        faults["source"] = [fault]
    return faults


def _tmpfs_faults(mount: Mapping[str, Any]) -> dict[str, Any]:
    faults = _opts_faults(mount, {"size": _size_fault, "mode": text_rules.mode_fault})
    if "source" in mount:
        faults["source"] = [Fault("a tmpfs has no source", "remove it")]
    return faults


def _opts_faults(mount: Mapping[str, Any], rules: Mapping[str, Any]) -> dict[str, Any]:
    faults: dict[str, Any] = {}
    for name, value in mount.get("opts", {}).items():
        rule = rules.get(name)
        fault = unknown_field(name, rules, "opts") if rule is None else rule(value)
        if fault is not None:
            faults[name] = [fault]
    return {"opts": faults} if faults else {}


def _bind_mode_fault(mode: str) -> Fault | None:
    return None if mode in ("ro", "rw") else Fault(f"{quoted(mode)} is neither ro nor rw", "write mode: ro")


def _size_fault(size: str) -> Fault | None:
    try:
        quantities.memory_bytes(size, least=4096)
    except quantities.BadQuantity as exc:
        return Fault(exc.what, exc.hint)
    return None
