"""Reader of YAML text: values with places, in one streaming pass that stops at the first thing that is refused.

Uses no composer and no recursion: libyaml's loader kills the process on 100,000 nested brackets, and an alias bomb
must be refused before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from engine.jobspec.builder import MOST_DEPTH, MOST_NODES, Builder, plain_scalar, unreadable
from engine.jobspec.problems import Invalid, Place
from engine.jobspec.text_lines import LineCounter, place_after
from engine.wording.text import quoted

#: libyaml compares each tag directive with all before it: 1 MiB of them would hold the interpreter for 10 s. A quoted
#: text may have a few lines that look like one.
_MOST_DIRECTIVES = 100
_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029])(?=%TAG)")
#: Characters that end a line for libyaml, by YAML 1.1, and for no editor.
_ODD_LINE_END = re.compile("[\x85\u2028\u2029]")
_LINE_END = re.compile("\r\n|[\n\r]")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NODES = (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent, yaml.AliasEvent)
_CONTAINER_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)

_PlaceOf = Callable[[yaml.Mark], Place]


def read(text: str, most_nodes: int = MOST_NODES) -> Builder:
    """Read the document. Raises Invalid (malformed) when it is not YAML, or YAML that is not supported."""
    place_of = _place_of(text)
    for count, directive in enumerate(_DIRECTIVE.finditer(text), 1):
        if count > _MOST_DIRECTIVES:
            message = f"more than {_MOST_DIRECTIVES} lines begin with %TAG"
            raise unreadable(
                message, "remove directives: tags are not supported", place_after(text[: directive.end()])
            )
    tree = Builder(most_nodes)
    documents = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            if type(event) is yaml.DocumentStartEvent:
                documents += 1
                _check_document(event, documents, place_of)
            else:
                _take(event, tree, place_of)
    except yaml.MarkedYAMLError as exc:
        raise _invalid(text, exc, place_of) from exc
    except yaml.YAMLError as exc:
        raise unreadable(f"invalid YAML: {exc}", "save the file as UTF-8 text", (1, 1)) from exc
    if not documents:
        raise unreadable("the text has only comments", "write at least name: and image:", (1, 1))
    return tree


def _place_of(text: str) -> _PlaceOf:
    """Return the function that turns libyaml's marks into places as editors count them."""
    if _ODD_LINE_END.search(text) is None:
        return lambda mark: (mark.line + 1, mark.column + 1)
    lines = LineCounter(text)
    return lambda mark: lines.place(mark.index)


def _check_document(event: Any, number: int, place_of: _PlaceOf) -> None:
    at = place_of(event.start_mark)
    if number > 1:
        raise unreadable("a second document begins here", "send one document at a time", at)
    if event.tags:
        raise unreadable(
            "the directive %TAG is not supported", "remove it: tags are not supported either", at
        )


def _take(event: Any, tree: Builder, place_of: _PlaceOf) -> None:
    kind = type(event)
    if kind in _NODES:
        if event.anchor is not None or kind is yaml.AliasEvent:
            what = "alias" if kind is yaml.AliasEvent else "anchor"
            raise unreadable(
                f"the {what} {quoted(event.anchor)} is not supported",
                "write the value out",
                place_of(event.start_mark),
            )
        if event.tag is not None:
            raise unreadable(
                f"the tag {quoted(event.tag)} is not supported", "remove it", place_of(event.start_mark)
            )
    if kind is yaml.ScalarEvent:
        # The style of an unquoted scalar is "" in libyaml, None in the pure Python reader.
        tree.put(event.value if event.style else plain_scalar(event.value), place_of(event.start_mark))
    elif kind is yaml.MappingStartEvent:
        tree.open({}, place_of(event.start_mark))
    elif kind is yaml.SequenceStartEvent:
        tree.open([], place_of(event.start_mark))
    elif kind in _CONTAINER_ENDS:
        tree.close()


def _invalid(text: str, exc: yaml.MarkedYAMLError, place_of: _PlaceOf) -> Invalid:
    """Return libyaml's error, with our remedy where we know one."""
    mark = exc.problem_mark or exc.context_mark
    at = place_of(mark) if mark else (1, 1)
    if "nesting depth" in str(exc.problem):
        return unreadable(f"nested deeper than {MOST_DEPTH} levels", "use fewer levels", at)
    message = f"invalid YAML: {exc.problem or exc.context}"
    if (odd := _ODD_LINE_END.search(text)) is not None:
        # The error is often an effect of this character, some lines later.
        hint = f"replace U+{ord(odd[0]):04X}, which ends a line in YAML, by a line feed, or write it as an escape"
        return unreadable(message, hint, place_after(text[: odd.start()]))
    return unreadable(message, _hint(text, at, str(exc.problem)), at)


def _hint(text: str, at: Place, problem: str) -> str:
    line, column = at
    near = _LINE_END.split(text)[max(0, line - 2) : line]
    if any("\u00a0" in row for row in near):
        return "replace the no-break space U+00A0 by a space"
    if any("\t" in row[: len(row) - len(row.lstrip())] for row in near):
        return "indent with spaces, not with tabs"
    if "Unicode character escape" in problem:
        return r"write the character itself, or send the text as JSON, which knows pairs such as \ud83d\ude00"
    if "mapping values are not allowed" in problem:
        return "put a text with a colon and a space in quotes, or fix the indentation"
    char = near[-1][column - 1 : column] if near else ""
    if char and char in "@`%*&!":
        return f"put a text that begins with {char} in quotes"
    return "check the quotes, brackets and indentation here and in the line before"
