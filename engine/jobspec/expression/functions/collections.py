"""Functions on lists and maps, without predicates."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from engine.jobspec.expression.bounds import VALUE_DEPTH
from engine.jobspec.expression.dates import Duration
from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.functions.table import Table
from engine.jobspec.expression.tools import Tools
from engine.jobspec.expression.values import (
    Value,
    as_key,
    from_key,
    identity,
    is_number,
    kind_of,
    too_deep,
    words_for,
)

COLLECTIONS = Table()
GROUP = "Lists"
MAPS = "Maps"


@COLLECTIONS.add(
    GROUP, "len(value: text|list|map) -> int", "The number of characters, elements or keys.", "len([1, 2, 3])"
)
def _len(tools: Tools, value: Value) -> int:
    return len(value)


@COLLECTIONS.add(
    GROUP, "first(list: list) -> any", "The first element; nil for an empty list.", "first([1, 2])"
)
def _first(tools: Tools, items: list[Value]) -> Value:
    return items[0] if items else None


@COLLECTIONS.add(GROUP, "last(list: list) -> any", "The last element; nil for an empty list.", "last([1, 2])")
def _last(tools: Tools, items: list[Value]) -> Value:
    return items[-1] if items else None


@COLLECTIONS.add(
    GROUP,
    "get(container: list|map, key: any) -> any",
    "The element at a place or key; nil where there is none.",
    'get({a: 1}, "b")',
)
def _get(tools: Tools, container: Value, key: Value) -> Value:
    if isinstance(container, dict):
        return container.get(as_key(key))
    if not is_number(key) or key != int(key):
        fail(Reason.TYPE, f"expected an integer as the place in a list, found {words_for(key)}")
    place = int(key)
    return container[place] if -len(container) <= place < len(container) else None


@COLLECTIONS.add(
    GROUP,
    "take(list: list, count: whole) -> list",
    "The first elements, so many at most.",
    "take([1, 2, 3], 2)",
)
def _take(tools: Tools, items: list[Value], count: int) -> list[Value]:
    if count < 0:
        fail(Reason.VALUE, "expected a count of 0 or more for take(), found a negative one")
    tools.meter.copy(min(count, len(items)))
    return items[:count]


@COLLECTIONS.add(
    GROUP, "reverse(list: list) -> list", "The elements from the last to the first.", "reverse([1, 2, 3])"
)
def _reverse(tools: Tools, items: list[Value]) -> list[Value]:
    tools.meter.copy(len(items))
    return items[::-1]


@COLLECTIONS.add(
    GROUP,
    "sort(list: list, order: text?) -> list",
    'The elements in order: numbers, texts, dates or durations; `order` is "asc" or "desc".',
    'sort([3, 1, 2], "desc")',
)
def _sort(tools: Tools, items: list[Value], order: str = "asc") -> list[Value]:
    return ordered(tools, items, items, order)


def ordered(tools: Tools, items: list[Value], keys: Sequence[Value], order: Value) -> list[Value]:
    """Return the items in the order of their keys, which are of one kind."""
    if order not in ("asc", "desc"):
        fail(Reason.VALUE, 'expected "asc" or "desc" as the order, found another')
    tools.meter.copy(len(items))
    kinds = {"number" if is_number(key) else kind_of(key) for key in keys}
    if len(kinds) > 1 or not kinds <= {"number", "string", kind_of(Duration(0)), "time.Time"}:
        fail(
            Reason.TYPE,
            "expected only numbers, only texts, only dates or only durations to sort, found others",
        )
    comparisons = max(1, len(items)).bit_length()
    tools.meter.spend(len(items) * comparisons // 8)
    for key in keys:
        if isinstance(key, str):
            tools.meter.spend(len(key) // 64 * comparisons)
    places = sorted(range(len(items)), key=keys.__getitem__, reverse=order == "desc")
    return [items[place] for place in places]


@COLLECTIONS.add(
    GROUP, "uniq(list: list) -> list", "The elements without those that came before.", "uniq([1, 2, 1])"
)
def _uniq(tools: Tools, items: list[Value]) -> list[Value]:
    seen: set[Hashable] = set()
    kept = []
    for item in items:
        key = identity(item, tools.meter)
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept


@COLLECTIONS.add(
    GROUP,
    "concat(list: list, more: list*) -> list",
    "The elements of all lists, in one.",
    "concat([1], [2, 3])",
)
def _concat(tools: Tools, *lists: list[Value]) -> list[Value]:
    tools.meter.copy(sum(map(len, lists)))
    return [item for items in lists for item in items]


@COLLECTIONS.add(
    GROUP,
    "flatten(list: list) -> list",
    "The elements of the lists within, at every depth.",
    "flatten([1, [2, [3]]])",
)
def _flatten(tools: Tools, items: list[Value]) -> list[Value]:
    flat: list[Value] = []
    waiting = [(item, 0) for item in reversed(items)]
    while waiting:
        item, depth = waiting.pop()
        tools.meter.spend()
        if depth > VALUE_DEPTH:
            too_deep()
        if isinstance(item, list):
            waiting.extend((inner, depth + 1) for inner in reversed(item))
        else:
            flat.append(item)
    tools.meter.copy(len(flat))
    return flat


@COLLECTIONS.add(MAPS, "keys(map: map) -> list", "The keys, in the map's order.", "keys({a: 1, b: 2})")
def _keys(tools: Tools, mapping: dict[Hashable, Value]) -> list[Value]:
    tools.meter.copy(len(mapping))
    return [from_key(key) for key in mapping]


@COLLECTIONS.add(MAPS, "values(map: map) -> list", "The values, in the map's order.", "values({a: 1, b: 2})")
def _values(tools: Tools, mapping: dict[Hashable, Value]) -> list[Value]:
    tools.meter.copy(len(mapping))
    return list(mapping.values())


@COLLECTIONS.add(MAPS, "toPairs(map: map) -> list", "A list of [key, value].", "toPairs({a: 1})")
def _to_pairs(tools: Tools, mapping: dict[Hashable, Value]) -> list[Value]:
    tools.meter.copy(len(mapping))
    tools.meter.spend(len(mapping))
    return [[from_key(key), value] for key, value in mapping.items()]


@COLLECTIONS.add(
    MAPS, "fromPairs(list: list) -> map", "The map of a list of [key, value].", 'fromPairs([["a", 1]])'
)
def _from_pairs(tools: Tools, pairs: list[Value]) -> dict[Hashable, Value]:
    tools.meter.copy(len(pairs))
    made: dict[Hashable, Value] = {}
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            fail(
                Reason.VALUE,
                f"expected a list of [key, value] for fromPairs(), found {words_for(pair)} in it",
            )
        made[as_key(pair[0])] = pair[1]
    return made
