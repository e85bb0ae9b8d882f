"""Nodes of an expression's tree. `at` is the place in the source, counted in characters from 0.

What people write in long rows is one node with many parts, not a nest: sums, paths, statements. So the depth of the
tree is the depth that its author sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Name that stands for all names of the context.
WHOLE_CONTEXT = "$env"


@dataclass(frozen=True, slots=True)
class Node:
    """Part of an expression, at a place in its source."""

    at: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """Text, number, bool or nil, as written."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Name(Node):
    """Name of the context, of a `let`, or of a function; `$env` is the whole context."""

    name: str


@dataclass(frozen=True, slots=True)
class Pointer(Node):
    """Pointer `#`, `#index` or `#acc` within a predicate."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """List, as written."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf(Node):
    """Map, as written."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """Operator `not`, `!`, `-` or `+` before an operand."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """Operator and the operand on its right, part of a series."""

    operator: str
    negated: bool
    right: Node


@dataclass(frozen=True, slots=True)
class Series(Node):
    """Operand and the operations on it, from left to right: `1 + 2 - 3`."""

    first: Node
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    """Comparisons in a chain, all of which must hold: `1 < x < 3`."""

    first: Node
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Member(Node):
    """Step of a path: `.name` and `[key]`. With `optional` (`?.`) nil ends the path."""

    key: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """Step of a path: `[from:to]`."""

    start: Node | None
    end: Node | None


@dataclass(frozen=True, slots=True)
class Method(Node):
    """Step of a path: `.Name(…)`."""

    name: str
    arguments: tuple[Node, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class Path(Node):
    """Value and the steps into it: `a.b[0]?.c`."""

    base: Node
    steps: tuple[Member | Slice | Method, ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """Call of a function by name. `builtin`: `::name(…)`, which no name of the context hides."""

    name: str
    arguments: tuple[Node, ...]
    builtin: bool = False


@dataclass(frozen=True, slots=True)
class PredicateCall(Node):
    """Call of a function that evaluates an expression for each element: `map(list, # * 2)`."""

    name: str
    subject: Node
    predicate: Node | None
    last: Node | None
    builtin: bool = False


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """Condition `test ? then : otherwise`, or with `if` and `else`; `then` is None in `test ?: otherwise`."""

    test: Node
    then: Node | None
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Let(Node):
    """Statement `let name = value`."""

    name: str
    value: Node


@dataclass(frozen=True, slots=True)
class Block(Node):
    """Statements, the last of which is the value."""

    statements: tuple[Node, ...]


def children(node: Node) -> list[Node]:
    """Return the nodes directly below, in the order of the source."""
    below: list[Node] = []
    # Each class has slots of its own only, and `at`, the one that it inherits, is no node.
    for name in type(node).__slots__:
        _gather(getattr(node, name), below)
    return below


def _gather(value: object, below: list[Node]) -> None:
    if isinstance(value, Node):
        below.append(value)
    elif isinstance(value, tuple):
        for part in value:
            _gather(part, below)


def walk(tree: Node) -> Iterator[tuple[Node, int]]:
    """Yield each node with its depth, the tree itself at 1, parents before their children."""
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting.extend((child, depth + 1) for child in reversed(children(node)))
