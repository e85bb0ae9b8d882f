"""Reader of YAML text: values with places, in one streaming pass that stops at the first thing that is refused.

Uses no composer and no recursion: libyaml's loader kills the process on 100,000 nested brackets, and an alias bomb
must be refused before anything is built.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from engine.jobspec.builder import MOST_DEPTH, Builder, plain_scalar, unreadable
from engine.jobspec.problems import Place
from engine.wording.text import quoted

#: libyaml compares each tag directive with all before it: 1 MiB of them would hold the interpreter for 10 s.
_TAG_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029])%TAG\\b")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NODES = (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent, yaml.AliasEvent)
_CONTAINER_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def read(text: str) -> Builder:
    """Read the document. Raises Invalid (malformed) when it is not YAML, or YAML that is not supported."""
    if (directive := _TAG_DIRECTIVE.search(text)) is not None:
        at = (text.count("\n", 0, directive.end()) + 1, 1)
        raise unreadable(
            "a line that begins with %TAG is not supported", "remove it: tags are not supported either", at
        )
    tree = Builder()
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if type(event) is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise unreadable(
                        "a second document begins here", "send one document at a time", _place(event)
                    )
            else:
                _take(event, tree)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        if "nesting depth" in str(exc.problem):
            raise unreadable(f"nested deeper than {MOST_DEPTH} levels", "use fewer levels", at) from exc
        raise unreadable(
            f"invalid YAML: {exc.problem or exc.context}", _hint(text, at, str(exc.problem)), at
        ) from exc
    except yaml.YAMLError as exc:
        raise unreadable(f"invalid YAML: {exc}", "save the file as UTF-8 text", (1, 1)) from exc
    if not documents:
        raise unreadable("the text has only comments", "write at least name: and image:", (1, 1))
    return tree


def _take(event: Any, tree: Builder) -> None:
    kind = type(event)
    if kind in _NODES:
        if event.anchor is not None or kind is yaml.AliasEvent:
            what = "alias" if kind is yaml.AliasEvent else "anchor"
            raise unreadable(
                f"the {what} {quoted(event.anchor)} is not supported", "write the value out", _place(event)
            )
        if event.tag is not None:
            raise unreadable(f"the tag {quoted(event.tag)} is not supported", "remove it", _place(event))
    if kind is yaml.ScalarEvent:
        # The style of an unquoted scalar is "" in libyaml, None in the pure Python reader.
        tree.put(event.value if event.style else plain_scalar(event.value), _place(event))
    elif kind is yaml.MappingStartEvent:
        tree.open({}, _place(event))
    elif kind is yaml.SequenceStartEvent:
        tree.open([], _place(event))
    elif kind in _CONTAINER_ENDS:
        tree.close()


def _hint(text: str, at: Place, problem: str) -> str:
    lines = text.split("\n")
    line, column = at
    near = lines[max(0, line - 2) : line]
    if any("\t" in row[: len(row) - len(row.lstrip())] for row in near):
        return "indent with spaces, not with tabs"
    if "mapping values are not allowed" in problem:
        return "put a text with a colon and a space in quotes, or fix the indentation"
    char = near[-1][column - 1 : column] if near else ""
    if char and char in "@`%*&!":
        return f"put a text that begins with {char} in quotes"
    return "check the quotes, brackets and indentation here and in the line before"


def _place(event: Any) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1)
