"""Types as far as they are known before anything runs: the kinds that a value may have, and those within it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.jobspec.expression.values import WORDS, Value, kind_of

ALL = frozenset(WORDS)
NUMBERS = frozenset({"int", "float"})
#: Kinds that count as integers: months and weekdays do.
INTEGERS = frozenset({"int", "time.Month", "time.Weekday"})
#: Word in a signature -> the kinds that it accepts.
SIGNATURE_WORDS = {
    "any": ALL,
    "nil": frozenset({"nil"}),
    "bool": frozenset({"bool"}),
    "int": INTEGERS,
    "whole": INTEGERS,
    "float": frozenset({"float"}),
    "number": NUMBERS | INTEGERS,
    "text": frozenset({"string"}),
    "list": frozenset({"array"}),
    "map": frozenset({"map"}),
    "date": frozenset({"time.Time"}),
    "duration": frozenset({"time.Duration"}),
    "month": frozenset({"time.Month"}),
    "weekday": frozenset({"time.Weekday"}),
    "zone": frozenset({"time.Location"}),
    "function": frozenset({"func"}),
}


@dataclass(frozen=True, slots=True)
class Type:
    """Kinds that a value may have, and what is known of its elements.

    `item` is the type of a list's elements or a map's values. `fields` are the keys of a map that is known key by key;
    with `missing`, a sentence with {name}, it has no others.
    """

    kinds: frozenset[str] = ALL
    item: Type | None = None
    fields: Mapping[str, Type] = field(default_factory=dict)
    missing: str = ""
    keys: frozenset[str] = ALL

    @property
    def element(self) -> Type:
        """Type of an element."""
        return self.item or ANY

    def words(self) -> str:
        """Return the words for a message."""
        kinds = self.kinds
        if kinds == ALL:
            return "a value of any kind"
        words = []
        if kinds >= NUMBERS:
            words, kinds = ["a number"], kinds - NUMBERS
        if self.kinds & INTEGERS >= INTEGERS:
            kinds -= INTEGERS - {"int"}
        words += [WORDS[kind] for kind in WORDS if kind in kinds]
        return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


ANY = Type()
NIL = Type(frozenset({"nil"}))
BOOL = Type(frozenset({"bool"}))
INT = Type(frozenset({"int"}))
FLOAT = Type(frozenset({"float"}))
NUMBER = Type(NUMBERS)
TEXT = Type(frozenset({"string"}))
LIST = Type(frozenset({"array"}))
MAP = Type(frozenset({"map"}))


def either(left: Type, right: Type) -> Type:
    """Return the type of a value that is of one type or the other."""
    if left == right:
        return left
    item = either(left.element, right.element) if left.item and right.item else None
    return Type(left.kinds | right.kinds, item, keys=left.keys | right.keys)


def list_of(item: Type) -> Type:
    """Return the type of a list."""
    return Type(LIST.kinds, item)


def map_of(item: Type, fields: Mapping[str, Type] | None = None, missing: str = "") -> Type:
    """Return the type of a map with texts as keys. `missing` makes a key that is not in `fields` a problem."""
    return Type(MAP.kinds, item, fields or {}, missing, TEXT.kinds)


def type_of(value: Value) -> Type:
    """Return the type of a value whose elements may have any type."""
    return map_of(ANY) if kind_of(value) == "map" else Type(frozenset({kind_of(value)}))
