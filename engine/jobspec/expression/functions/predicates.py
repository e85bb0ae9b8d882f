"""Functions that evaluate an expression for each element of a list."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.functions.collections import ordered
from engine.jobspec.expression.functions.table import Table
from engine.jobspec.expression.operators import add, truth
from engine.jobspec.expression.tools import Tools
from engine.jobspec.expression.values import Value, as_key, is_number, words_for

PREDICATES = Table()
GROUP = "Predicates"
#: Element, its index, and the value so far (of reduce).
Predicate = Callable[[Value, int, Value], Value]
Items = list[Value]


def _tests(items: Items, predicate: Predicate, backwards: bool = False) -> Iterator[tuple[int, bool]]:
    for index in reversed(range(len(items))) if backwards else range(len(items)):
        yield index, truth(predicate(items[index], index, None), "as the answer of the predicate")


@PREDICATES.add(
    GROUP, "all(list: list, test: any) -> bool", "Whether the test holds for all.", "all([1, 2], # > 0)"
)
def _all(tools: Tools, items: Items, predicate: Predicate) -> bool:
    return all(holds for _, holds in _tests(items, predicate))


@PREDICATES.add(
    GROUP,
    "any(list: list, test: any) -> bool",
    "Whether the test holds for one or more.",
    "any([1, 2], # > 1)",
)
def _any(tools: Tools, items: Items, predicate: Predicate) -> bool:
    return any(holds for _, holds in _tests(items, predicate))


@PREDICATES.add(
    GROUP,
    "one(list: list, test: any) -> bool",
    "Whether the test holds for exactly one.",
    "one([1, 2], # > 1)",
)
def _one(tools: Tools, items: Items, predicate: Predicate) -> bool:
    return sum(holds for _, holds in _tests(items, predicate)) == 1


@PREDICATES.add(
    GROUP, "none(list: list, test: any) -> bool", "Whether the test holds for none.", "none([1, 2], # > 2)"
)
def _none(tools: Tools, items: Items, predicate: Predicate) -> bool:
    return not any(holds for _, holds in _tests(items, predicate))


@PREDICATES.add(
    GROUP,
    "filter(list: list, test: any) -> list",
    "The elements for which the test holds.",
    "filter([1, 2, 3], # > 1)",
)
def _filter(tools: Tools, items: Items, predicate: Predicate) -> Items:
    return [items[index] for index, holds in _tests(items, predicate) if holds]


@PREDICATES.add(
    GROUP,
    "map(list: list, result: any) -> list",
    "The result for each element. Write a map in parentheses: `({name: #})`.",
    "map([1, 2, 3], # * 2)",
)
def _map(tools: Tools, items: Items, predicate: Predicate) -> Items:
    return [predicate(item, index, None) for index, item in enumerate(items)]


@PREDICATES.add(
    GROUP,
    "count(list: list, test: any?) -> int",
    "The number of elements for which the test holds; without a test, of those that are true.",
    "count([1, 2, 3], # > 1)",
)
def _count(tools: Tools, items: Items, predicate: Predicate | None = None) -> int:
    return sum(holds for _, holds in _tests(items, predicate or _element))


def _element(item: Value, index: int, accumulated: Value) -> Value:
    return item


@PREDICATES.add(
    GROUP,
    "sum(list: list, number: any?) -> number",
    "The sum of the elements, or of the number for each of them.",
    "sum([1, 2, 3], # * 10)",
)
def _sum(tools: Tools, items: Items, predicate: Predicate | None = None) -> Value:
    total: Value = 0
    for index, item in enumerate(items):
        tools.meter.spend()
        term = predicate(item, index, None) if predicate else item
        if not is_number(term):
            fail(Reason.TYPE, f"expected numbers for sum(), found {words_for(term)}")
        total = add(tools, total, term)
    return total


def _found(items: Items, predicate: Predicate, backwards: bool = False) -> int | None:
    return next((index for index, holds in _tests(items, predicate, backwards) if holds), None)


@PREDICATES.add(
    GROUP,
    "find(list: list, test: any) -> any",
    "The first element for which the test holds, or nil.",
    "find([1, 2, 3], # > 1)",
)
def _find(tools: Tools, items: Items, predicate: Predicate) -> Value:
    index = _found(items, predicate)
    return None if index is None else items[index]


@PREDICATES.add(
    GROUP, "findIndex(list: list, test: any) -> any", "Its place, or nil.", "findIndex([1, 2, 3], # > 1)"
)
def _find_index(tools: Tools, items: Items, predicate: Predicate) -> int | None:
    return _found(items, predicate)


@PREDICATES.add(
    GROUP,
    "findLast(list: list, test: any) -> any",
    "The last element for which the test holds, or nil.",
    "findLast([1, 2, 3], # < 3)",
)
def _find_last(tools: Tools, items: Items, predicate: Predicate) -> Value:
    index = _found(items, predicate, backwards=True)
    return None if index is None else items[index]


@PREDICATES.add(
    GROUP,
    "findLastIndex(list: list, test: any) -> any",
    "Its place, or nil.",
    "findLastIndex([1, 2, 1], # == 1)",
)
def _find_last_index(tools: Tools, items: Items, predicate: Predicate) -> int | None:
    return _found(items, predicate, backwards=True)


@PREDICATES.add(
    GROUP,
    "groupBy(list: list, key: any) -> map",
    "A map from each key to the list of its elements.",
    'groupBy(["a", "bb", "cc"], string(len(#)))',
)
def _group_by(tools: Tools, items: Items, predicate: Predicate) -> dict[Hashable, Value]:
    groups: dict[Hashable, Value] = {}
    for index, item in enumerate(items):
        groups.setdefault(as_key(predicate(item, index, None)), []).append(item)
    return groups


@PREDICATES.add(
    GROUP,
    "sortBy(list: list, key: any, order: text?) -> list",
    'The elements in the order of their keys; `order` is "asc" or "desc".',
    "sortBy([{n: 2}, {n: 1}], .n)",
)
def _sort_by(tools: Tools, items: Items, predicate: Predicate, order: Value = "asc") -> Items:
    return ordered(tools, items, _map(tools, items, predicate), order)


@PREDICATES.add(
    GROUP,
    "reduce(list: list, result: any, start: any?) -> any",
    "The last result, where `#acc` is the one before; without `start` the first element is the first result.",
    "reduce([1, 2, 3], #acc + #, 10)",
)
def _reduce(tools: Tools, items: Items, predicate: Predicate, *start: Value) -> Value:
    if not items and not start:
        fail(Reason.RANGE, "expected a list that is not empty, or a start, for reduce(), found an empty list")
    accumulated = start[0] if start else items[0]
    for index in range(0 if start else 1, len(items)):
        accumulated = predicate(items[index], index, accumulated)
    return accumulated
