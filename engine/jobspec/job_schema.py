"""Way from a text to a JobSpec, or to all its problems; and from a task that is opened to its TaskSpec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.jobspec import schema, stored
from engine.jobspec.braces import marked_opened
from engine.jobspec.composite import Leaf, filled
from engine.jobspec.document import MOST_BYTES, Media
from engine.jobspec.document import load as load_document
from engine.jobspec.job import JobSpec
from engine.jobspec.job_inputs import values
from engine.jobspec.job_names import name_faults
from engine.jobspec.job_reader import JobReader
from engine.jobspec.problems import Invalid, problem_at
from engine.jobspec.task import HostAccess, TaskSpec
from engine.jobspec.template import Template

#: Keys and values of a file.
MOST_NODES = 50_000


def check(
    text: bytes,
    media: Media,
    host_access: HostAccess,
    given: Mapping[str, str] | None = None,
    most_bytes: int = MOST_BYTES,
) -> tuple[JobSpec, dict[str, Any]]:
    """Return the job of a text and the values of its inputs, of which `given` are those of the submission.

    Raises Invalid, and no other error: `malformed` when the text cannot be read, else with all problems, each at its
    key. What expressions will yield is checked when a task is opened (`opened`).
    """
    document = load_document(text, media, most_bytes, MOST_NODES)
    reader = JobReader(host_access)
    job = reader.job(document.value)
    chosen: dict[str, Any] = {}
    faults = reader.faults
    if job is not None:
        chosen, wrong = values(job.inputs, given or {})
        faults += [(("inputs", name) if name else ("inputs",), fault) for name, fault in wrong.items()]
        faults += name_faults(job, is_whole=not faults)
    if job is None or faults or document.problems:
        problems = [problem_at(path, fault, document.places) for path, fault in faults]
        raise Invalid([*problems, *document.problems])
    return job, chosen


def opened(
    leaf: Leaf, fill: Callable[[Template], str], defaults: Mapping[str, Any], host_access: HostAccess
) -> TaskSpec:
    """Return the task that a leaf is, with what `fill` makes of its templates: every rule is asked again.

    Raises Invalid with all problems, without a place.
    """
    task = {**defaults, **filled(leaf.draft, fill)}
    if leaf.templates:
        task["files"] = {
            **task.get("files", {}),
            **{name: fill(text) for name, text in leaf.templates.items()},
        }
    faults, checked = schema.read(marked_opened(task), host_access)
    if faults or checked is None:
        raise Invalid([problem_at(path, fault, {}) for path, fault in faults])
    return stored.load(checked)
