"""Types that operators take and give, as far as they are known before anything runs."""

from __future__ import annotations

from engine.jobspec.expression import kinds
from engine.jobspec.expression.kinds import ALL, BOOL, INT, LIST, MAP, NIL, TEXT, Type, list_of

_FLOAT, _INT = kinds.FLOAT.kinds, kinds.SIGNATURE_WORDS["int"]
_NUMBER = kinds.SIGNATURE_WORDS["number"]
_DATE, _DURATION = frozenset({"time.Time"}), frozenset({"time.Duration"})

#: Words for the operands, in messages.
OPERANDS = {
    "+": "two numbers, two texts, or dates and durations",
    "-": "two numbers, or dates and durations",
    "*": "two numbers, or a duration and a number",
    "/": "two numbers",
    "%": "two integers",
    "**": "two numbers",
    "..": "two integers",
    "in": "a list or a map",
    "and": "bools",
    "or": "bools",
    **dict.fromkeys(("==", "!="), "values of one kind"),
    **dict.fromkeys(("<", ">", "<=", ">="), "two numbers, texts, dates or durations"),
    **dict.fromkeys(("contains", "startsWith", "endsWith", "matches"), "two texts"),
}


def _arithmetic(left: Type, right: Type) -> frozenset[str]:
    """Return the kinds of a number made of two: an integer only of integers."""
    result = frozenset[str]()
    if left.kinds & _INT and right.kinds & _INT:
        result |= INT.kinds
    if left.kinds & _NUMBER and right.kinds & _NUMBER and (left.kinds | right.kinds) & _FLOAT:
        result |= _FLOAT
    return result


def _sum(left: Type, right: Type) -> frozenset[str]:
    result = _arithmetic(left, right) | (left.kinds & right.kinds & (TEXT.kinds | _DURATION))
    dates = (left.kinds & _DATE and right.kinds & _DURATION) or (
        left.kinds & _DURATION and right.kinds & _DATE
    )
    return result | (_DATE if dates else frozenset())


def _difference(left: Type, right: Type) -> frozenset[str]:
    result = _arithmetic(left, right) | (left.kinds & right.kinds & _DURATION)
    if left.kinds & _DATE and right.kinds & _DATE:
        result |= _DURATION
    return result | (_DATE if left.kinds & _DATE and right.kinds & _DURATION else frozenset())


def _product(left: Type, right: Type) -> frozenset[str]:
    durations = (left.kinds & _DURATION and right.kinds & _NUMBER) or (
        left.kinds & _NUMBER and right.kinds & _DURATION
    )
    return _arithmetic(left, right) | (_DURATION if durations else frozenset())


def _are_comparable(left: Type, right: Type) -> bool:
    """Return whether the two could be equal."""
    if left.kinds & NIL.kinds or right.kinds & NIL.kinds:
        return True
    return bool(left.kinds & right.kinds or (left.kinds & _NUMBER and right.kinds & _NUMBER))


def _could_have(left: Type, right: Type) -> bool:
    """Return whether the list or map on the right could have the value."""
    lists = "array" in right.kinds and _are_comparable(left, right.element)
    return lists or ("map" in right.kinds and bool(left.kinds & right.keys))


def result_of(operator: str, left: Type, right: Type) -> Type | None:
    """Return the type of an operator's result, None when no values of these types have one."""
    both = left.kinds & right.kinds
    if operator in ("+", "-", "*"):
        rule = {"+": _sum, "-": _difference, "*": _product}[operator]
        result = rule(left, right)
        return Type(result) if result else None
    if operator in ("/", "**"):
        return kinds.FLOAT if left.kinds & _NUMBER and right.kinds & _NUMBER else None
    if operator in ("%", ".."):
        fits = left.kinds & _INT and right.kinds & _INT
        return (INT if operator == "%" else list_of(INT)) if fits else None
    if operator in ("==", "!="):
        return BOOL if _are_comparable(left, right) else None
    if operator == "in":
        return BOOL if _could_have(left, right) and right.kinds & (LIST.kinds | MAP.kinds) else None
    if operator in ("and", "or"):
        fits = left.kinds & BOOL.kinds and right.kinds & BOOL.kinds
        return (BOOL if left.kinds | right.kinds != ALL else Type()) if fits else None
    if operator in ("<", ">", "<=", ">="):
        fits = left.kinds & _NUMBER and right.kinds & _NUMBER
        return BOOL if fits or both & (TEXT.kinds | _DATE | _DURATION) else None
    return BOOL if both & TEXT.kinds else None
