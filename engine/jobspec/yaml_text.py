"""YAML text -> values with places, in one streaming pass that stops at the first thing that is refused.

No composer and no recursion: libyaml's loader kills the process on 100,000 nested brackets, and an alias
bomb must be refused before anything is built.
"""

from __future__ import annotations

from typing import Any

import yaml

from engine.jobspec.builder import MOST_DEPTH, Builder, plain_scalar, refused
from engine.jobspec.problems import Place
from engine.wording.text import quoted

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NODES = (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent, yaml.AliasEvent)
_CONTAINER_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def read(text: str) -> Builder:
    """The document's tree. Raises Invalid (malformed) at what is not YAML, or is YAML that is refused."""
    tree = Builder()
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if type(event) is yaml.DocumentStartEvent:
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
        raise refused(
            f"this is no YAML: {exc.problem or exc.context}", _remedy(text, at, str(exc.problem)), at
        ) from exc
    except yaml.YAMLError as exc:
        raise refused(f"this is no YAML: {exc}", "save the file as plain UTF-8 text", (1, 1)) from exc
    if not documents:
        raise refused("there is nothing but comments", "write at least name: and image:", (1, 1))
    return tree


def _take(event: Any, tree: Builder) -> None:
    kind = type(event)
    if kind in _NODES:
        if event.anchor is not None or kind is yaml.AliasEvent:
            what = "alias" if kind is yaml.AliasEvent else "anchor"
            raise refused(
                f"the {what} {quoted(event.anchor)} is refused", "write the value out", _place(event)
            )
        if event.tag is not None:
            raise refused(f"the tag {quoted(event.tag)} is refused", "remove it", _place(event))
    if kind is yaml.ScalarEvent:
        # libyaml says "" for an unquoted one, the pure reader None.
        tree.put(event.value if event.style else plain_scalar(event.value), _place(event))
    elif kind is yaml.MappingStartEvent:
        tree.open({}, _place(event))
    elif kind is yaml.SequenceStartEvent:
        tree.open([], _place(event))
    elif kind in _CONTAINER_ENDS:
        tree.close()


def _remedy(text: str, at: Place, problem: str) -> str:
    lines = text.split("\n")
    line, column = at
    near = lines[max(0, line - 2) : line]
    if any("\t" in row[: len(row) - len(row.lstrip())] for row in near):
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "put a text that holds a colon and a space in quotes, or mend the indentation"
    sign = near[-1][column - 1 : column] if near else ""
    if sign and sign in "@`%*&!":
        return f"put a text that begins with {sign} in quotes"
    return "look at the quotes, brackets and indentation here and in the line before"


def _place(event: Any) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1)
