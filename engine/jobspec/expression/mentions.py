"""Names of the context that an expression mentions: what must be loaded before it can be evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.jobspec.expression import nodes
from engine.jobspec.expression.nodes import WHOLE_CONTEXT, Node
from engine.jobspec.expression.values import Value

#: Functions whose answer another evaluation does not repeat.
CHANGING = frozenset({"now", "randomInt"})


@dataclass(frozen=True, slots=True)
class Mentions:
    """Names that are mentioned: `whole` ones, and `keys` such as (inputs, size). `$env` stands for every name."""

    whole: frozenset[str] = frozenset()
    keys: frozenset[tuple[str, str]] = frozenset()
    calls: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Return all names, whole or in part."""
        return self.whole | {name for name, _ in self.keys}

    def have(self, name: str) -> bool:
        """Return whether a name is mentioned, whole or in part."""
        return WHOLE_CONTEXT in self.whole or name in self.names

    @property
    def is_constant(self) -> bool:
        """Return whether every evaluation gives the same."""
        return not self.names and not self.calls & CHANGING

    def __or__(self, other: Mentions) -> Mentions:
        return Mentions(self.whole | other.whole, self.keys | other.keys, self.calls | other.calls)

    def part_of(self, context: Mapping[str, Value]) -> dict[str, Value]:
        """Return the part of a context that is mentioned."""
        if WHOLE_CONTEXT in self.whole:
            return dict(context)
        part: dict[str, Value] = {name: context[name] for name in self.whole if name in context}
        for name, key in sorted(self.keys):
            mapping = context.get(name)
            if name in self.whole or name not in context:
                continue
            if not isinstance(mapping, Mapping):
                part[name] = mapping
            elif key in mapping:
                part.setdefault(name, {})[key] = mapping[key]
            else:
                part.setdefault(name, {})
        return part


def mentions(tree: Node) -> Mentions:
    """Return what an expression mentions."""
    whole, keys = set[str](), set[tuple[str, str]]()
    calls = {node.name for node, _ in nodes.walk(tree) if isinstance(node, nodes.Call)}
    variables = {node.name for node, _ in nodes.walk(tree) if isinstance(node, nodes.Let)}
    for name, key in _mentioned(tree):
        if name in variables:
            continue
        if key is None:
            whole.add(name)
        else:
            keys.add((name, key))
    return Mentions(frozenset(whole), frozenset(keys), frozenset(calls))


def _mentioned(tree: Node) -> Iterator[tuple[str, str | None]]:
    """Yield each name, with the key where only that one is asked for."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        below = nodes.children(node)
        if isinstance(node, nodes.Name):
            yield node.name, None
        elif isinstance(node, nodes.Path) and isinstance(node.base, nodes.Name):
            yield mention(node)
            below = list(node.steps)
        elif isinstance(node, nodes.Series) and (name_and_key := asked_key(node)) is not None:
            yield name_and_key
            below = []
        waiting.extend(below)


def asked_key(node: nodes.Series) -> tuple[str, str] | None:
    """Return the name and key that `"key" in name` asks for."""
    operation, key = node.operations[0], node.first
    right = operation.right
    if len(node.operations) > 1 or operation.operator != "in" or not isinstance(right, nodes.Name):
        return None
    if not isinstance(key, nodes.Literal) or not isinstance(key.value, str) or right.name == WHOLE_CONTEXT:
        return None
    return right.name, key.value


def mention(path: nodes.Path) -> tuple[str, str | None]:
    """Return the name at the head of a path, and the first key where it is written out."""
    assert isinstance(path.base, nodes.Name)
    keys = []
    for step in path.steps[:2]:
        if not (isinstance(step, nodes.Member) and isinstance(step.key, nodes.Literal)):
            break
        if not isinstance(step.key.value, str):
            break
        keys.append(step.key.value)
    name = path.base.name
    if name == WHOLE_CONTEXT and keys:
        return keys[0], keys[1] if len(keys) > 1 else None
    return name, keys[0] if keys else None


def guarded(tree: Node) -> frozenset[tuple[str, str]]:
    """Return what the expression is prepared not to find: left of `??`, or asked for with `in` or `== nil`."""
    pairs: set[tuple[str, str | None]] = set()
    for node, _ in nodes.walk(tree):
        if isinstance(node, nodes.Series):
            left = node.first
            for operation in node.operations:
                pairs |= _guarded(left, operation)
                left = operation.right
    return frozenset((name, key) for name, key in pairs if key is not None)


def _guarded(left: Node, operation: nodes.Operation) -> set[tuple[str, str | None]]:
    right = operation.right
    if operation.operator == "in" and isinstance(left, nodes.Literal) and isinstance(right, nodes.Name):
        return {(right.name, str(left.value))}
    asks_nil = operation.operator in ("==", "!=") and isinstance(right, nodes.Literal) and right.value is None
    if not (operation.operator == "??" or asks_nil):
        return set()
    return {mention(left)} if isinstance(left, nodes.Path) and isinstance(left.base, nodes.Name) else set()
