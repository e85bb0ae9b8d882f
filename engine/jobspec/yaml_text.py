"""YAML text -> values with places, in one streaming pass that stops at the first thing that is refused.

No composer and no recursion: libyaml's loader kills the process on 100,000 nested brackets, and an alias
bomb must be refused before anything is built.
"""

from __future__ import annotations

from typing import Any

import yaml

from engine.jobspec.problems import Place, quoted
from engine.jobspec.tree import MOST_DEPTH, Builder, plain_scalar, refused

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTAINER_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def read(text: str) -> Builder:
    """The document's tree. Raises Invalid (malformed) at what is not YAML, or is YAML that is refused."""
    tree = Builder()
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise refused("a second document begins", "send one document at a time", _place(event))
            else:
                _take(event, tree)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if "nesting depth" in str(exc.problem):
            raise refused(f"nested deeper than {MOST_DEPTH} levels", "write it flatter", at) from exc
        raise refused(f"this is no YAML: {exc.problem or exc.context}", _remedy(text, at[0]), at) from exc
    except yaml.YAMLError as exc:
        raise refused(f"this is no YAML: {exc}", "save the file as plain UTF-8 text", (1, 1)) from exc
    if not documents:
        raise refused("there is nothing but comments", "write at least name: and image:", (1, 1))
    return tree


def _take(event: Any, tree: Builder) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise refused(
            f"the alias {quoted(f'*{event.anchor}')} is refused", "write the value out", _place(event)
        )
    if isinstance(event, yaml.NodeEvent):
        _refuse_marks(event)
    if isinstance(event, yaml.ScalarEvent):
        plain = event.style is None or event.style == ""
        tree.put(plain_scalar(event.value) if plain else event.value, _place(event))
    elif isinstance(event, yaml.MappingStartEvent):
        tree.open({}, _place(event))
    elif isinstance(event, yaml.SequenceStartEvent):
        tree.open([], _place(event))
    elif isinstance(event, _CONTAINER_ENDS):
        tree.close()


def _refuse_marks(event: Any) -> None:
    if event.anchor is not None:
        raise refused(
            f"the anchor {quoted(f'&{event.anchor}')} is refused", "write the value out", _place(event)
        )
    if getattr(event, "tag", None) is not None:
        raise refused(f"the tag {quoted(event.tag)} is refused", "remove it", _place(event))


def _remedy(text: str, line: int) -> str:
    lines = text.splitlines()
    near = lines[max(0, line - 2) : line]
    if any(row[: len(row) - len(row.lstrip())].count("\t") for row in near):
        return "indent with spaces, not with tabs"
    return "look at the quotes, brackets and indentation here and in the line before"


def _place(event: Any) -> Place:
    return (event.start_mark.line + 1, event.start_mark.column + 1)
