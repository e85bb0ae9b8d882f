"""Answers of Tork's own evaluation, beside ours: each case agrees, or falls under a difference that has a name.

`cases.jsonl` has a case per line. The rules are those of docs/expressions_page.py; each is as narrow as its
case allows: most undo the difference and compare the rest.
"""

from __future__ import annotations

import json
import math
import re
import runpy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.jobspec import template
from engine.jobspec.expression.bounds import Budget
from engine.jobspec.expression.check import Scope, check, text_map
from engine.jobspec.expression.dates import Date, Duration
from engine.jobspec.expression.errors import ExpressionError, Reason
from engine.jobspec.expression.evaluate import ALWAYS
from engine.jobspec.expression.kinds import type_of
from engine.jobspec.expression.patterns import IS_AVAILABLE
from engine.jobspec.expression.tools import Outside
from engine.jobspec.template import Template

ROOT = Path(__file__).resolve().parents[4]
CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
OUTSIDE = Outside(1_750_000_000_000, lambda below: 0)
Case = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """Answer of ours to a case: a value, or the errors."""

    value: Any = None
    errors: tuple[ExpressionError, ...] = ()

    @property
    def reasons(self) -> set[str]:
        return {str(error.reason) for error in self.errors}


class WithEmptyTexts(dict[str, str]):
    """Map in which an absent name is an empty text, as in Tork."""

    def get(self, key: str, default: object = None) -> Any:
        return super().get(key, "")


def read(case: Case) -> Template:
    return template.parse(case["template"]) if "template" in case else template.parse_list(case["expr"])


def scope_of(case: Case) -> Scope:
    others = {name: type_of(value) for name, value in case["context"].items() if name not in ALWAYS}
    return Scope({**dict.fromkeys(ALWAYS, text_map()), **others})


def ask(case: Case, context: dict[str, Any]) -> Answer:
    """Parse, check, and evaluate."""
    try:
        parsed = read(case)
        if problems := [problem for part in parsed.expressions for problem in check(part, scope_of(case))[0]]:
            return Answer(errors=tuple(problems))
        if "expr" in case:
            return Answer(template.value(parsed, context, OUTSIDE, Budget()))
        text = template.evaluate(parsed, context, OUTSIDE, Budget())
        if isinstance(text, template.Late):
            text = template.reveal(text, context.get("secrets", {}), OUTSIDE, Budget())
        return Answer(text)
    except ExpressionError as exc:
        return Answer(errors=(exc,))


def theirs(value: Any) -> Any:
    """Return Tork's answer as our kinds of values."""
    if isinstance(value, list):
        return [theirs(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$bytes" in value:
        return bytes.fromhex(value["$bytes"])
    if "$pairs" in value:
        return {key: theirs(item) for key, item in value["$pairs"]}
    marks = {"$duration", "$time", "$month", "$weekday"} & value.keys()
    return value[marks.pop()] if marks else {key: theirs(item) for key, item in value.items()}


def ours(value: Any) -> Any:
    if isinstance(value, Date):
        return value.rfc3339()
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, list):
        return [ours(item) for item in value]
    return {key: ours(item) for key, item in value.items()} if isinstance(value, dict) else value


def is_same(one: Any, other: Any, kinds_matter: bool = True) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(
            is_same(a, b, kinds_matter) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key], kinds_matter) for key in one)
    if kinds_matter and isinstance(one, float) != isinstance(other, float):
        return False
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def agrees(case: Case, answer: Answer) -> bool:
    if case["error"] is not None:
        return case["error"]["class"] in answer.reasons
    return not answer.errors and is_same(theirs(case["result"]), ours(answer.value))


# The rules


def go_text(value: Any) -> str:
    """Return what Go prints for a value."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
    return str(value)


def go_float(number: float) -> str:
    """Return the shortest digits, with an exponent of two digits below 1e-4 and from 1e6."""
    if 1e-4 <= abs(number) < 1e6 or number == 0 or not math.isfinite(number):
        return repr(number).removesuffix(".0")
    written = (f"{number:.{precision}e}" for precision in range(18))
    return next(text for text in written if float(text) == number)


def as_floats(value: Any) -> Any:
    """Return a value with the numbers that JSON has in Tork."""
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    if isinstance(value, dict):
        return {key: as_floats(item) for key, item in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def printed_by_go(case: Case, convert: Callable[[Any], Any]) -> str | None:
    """Return the case's text with our values, as Go prints them."""
    parsed, pieces = read(case), []
    for part in parsed.segments:
        if isinstance(part, str):
            pieces.append(part)
            continue
        try:
            pieces.append(
                go_text(convert(template.value(Template((part,)), case["context"], OUTSIDE, Budget())))
            )
        except ExpressionError:
            return None
    return "".join(pieces)


def text_of(case: Case) -> str:
    return str(case.get("template", case.get("expr")))


def absent(case: Case, answer: Answer) -> bool:
    names = {name: WithEmptyTexts(case["context"].get(name, {})) for name in ALWAYS}
    return agrees(case, ask(case, {**case["context"], **names}))


def json_integers(case: Case, answer: Answer) -> bool:
    if "fromJSON(" not in text_of(case):
        return False
    if case["error"] is not None:
        return case["error"]["message"] == "reflect: Call using float64 as type int" and not answer.errors
    if case["result"] == "float" and answer.value == "int":
        return True
    if isinstance(case["result"], str) and "string(" in text_of(case):
        return go_float(float(answer.value)) == case["result"]
    return is_same(theirs(case["result"]), ours(answer.value), kinds_matter=False) and not answer.errors


def printing(case: Case, answer: Answer) -> bool:
    if answer.errors or case["error"] is not None:
        return False
    if "template" in case:
        wanted = case["result"]
        return wanted in (printed_by_go(case, lambda value: value), printed_by_go(case, as_floats))
    piped, called = r"(.+) \| string\(\)", r"string\((.+)\)(?: == .+)?"
    inner = re.fullmatch(piped, case["expr"]) or re.fullmatch(called, case["expr"])
    if inner is None:
        return False
    value = ask({**case, "expr": inner[1]}, case["context"]).value
    return go_text(value) in (case["result"], "<nil>")


def division_by_zero(case: Case, answer: Answer) -> bool:
    return re.search(r"/ 0\b", text_of(case)) is not None and answer.reasons == {Reason.DIVISION_BY_ZERO}


def sixty_four_bits(case: Case, answer: Answer) -> bool:
    return (
        bool(case.get("quirk"))
        and case.get("type") == "int"
        and answer.reasons <= {Reason.RANGE, Reason.VALUE}
    )


def characters(case: Case, answer: Answer) -> bool:
    if "fromBase64(" in case["expr"]:
        return answer.reasons == {Reason.CONVERSION}
    sliced = re.fullmatch(r'"(\w+)"\[(\d+):(\d+)\]', case["expr"])
    return sliced is not None and answer.value == sliced[1][int(sliced[2]) : int(sliced[3])]


def segments(case: Case, answer: Answer) -> bool:
    """Return whether Tork's regular expression finds other expressions than ours."""
    found = list(re.finditer(r"{{\s*(.+?)\s*}}", text_of(case)))
    if "{{" not in text_of(case):
        return False
    try:
        sources = [part.source for part in read(case).expressions]
    except ExpressionError:
        # Only with something around the expression may ours be an error.
        around = found[0].span() != (0, len(text_of(case))) if found else True
        return ("expr" in case and around) or "\n" in text_of(case)
    return sources != [match[1] for match in found]


def equality(case: Case, answer: Answer) -> bool:
    sides = case["expr"].split(" == ")
    if len(sides) != 2 or answer.errors:
        return False
    left, right = (ask({**case, "expr": side}, case["context"]).value for side in sides)
    return answer.value is (left == right)


def bounds(case: Case, answer: Answer) -> bool:
    return answer.reasons == {Reason.LIMIT} and case["error"] is None


def environment(case: Case, answer: Answer) -> bool:
    if case["expr"] != "$env":
        return False
    functions = ("sequence", "randomInt")
    names = {key: value for key, value in case["result"].items() if key not in functions}
    return is_same(names, answer.value)


def hidden_function(case: Case, answer: Answer) -> bool:
    return any(f"{name}(" in case["expr"] for name in case["context"]) and answer.reasons == {Reason.TYPE}


def accidents(case: Case, answer: Answer) -> bool:
    return bool(case.get("quirk")) and bool(answer.errors)


def class_of_error(case: Case, answer: Answer) -> bool:
    if case["error"] is None:
        return False
    told, reasons = case["error"], answer.reasons
    if told["class"] == "arity":
        return reasons == {Reason.TYPE} and "arguments to call" in told["message"]
    return told["message"].startswith("reflect") and reasons == {Reason.VALUE}


RULES: dict[str, Callable[[Case, Answer], bool]] = {
    "segments": segments,
    "absent": absent,
    "json-integers": json_integers,
    "printing": printing,
    "division-by-zero": division_by_zero,
    "64-bit": sixty_four_bits,
    "characters": characters,
    "equality": equality,
    "bounds": bounds,
    "environment": environment,
    "hidden-function": hidden_function,
    "class-of-error": class_of_error,
    "accidents": accidents,
}
#: Rules that read the case as a bare expression.
BARE = {"characters", "equality", "environment", "hidden-function"}


def rule_of(case: Case) -> str | None:
    """Return "" where both agree, the name of the first rule that the case falls under, None without one."""
    answer = ask(case, case["context"])
    if agrees(case, answer):
        return ""
    for name, rule in RULES.items():
        if (name not in BARE or "expr" in case) and rule(case, answer):
            return name
    return None


needs_re2 = pytest.mark.skipif(not IS_AVAILABLE, reason="google-re2 is not installed")


def each_case() -> Iterator[Any]:
    for case in CASES:
        marks = [needs_re2] if "matches" in text_of(case) else []
        yield pytest.param(case, id=case["id"], marks=marks)


@pytest.mark.parametrize("case", list(each_case()))
def test_a_case_agrees_or_has_a_named_difference(case: Case) -> None:
    answer = ask(case, case["context"])
    assert Reason.DEFECT not in answer.reasons
    assert rule_of(case) is not None, (text_of(case), case["error"] or case["result"], answer)


@cache
def rules_by_case() -> dict[str, str | None]:
    return {case["id"]: rule_of(case) for case in CASES}


def test_every_rule_is_needed_and_most_cases_need_none() -> None:
    used = list(rules_by_case().values())
    assert {name for name in used if name} == set(RULES)
    assert used.count("") > 1_640 or not IS_AVAILABLE


def test_the_rules_are_those_of_the_page() -> None:
    assert set(runpy.run_path(str(ROOT / "docs/expressions_page.py"))["DIFFERENCES"]) == set(RULES)


@pytest.mark.parametrize("case", [case for case in CASES if case["error"]], ids=lambda case: str(case["id"]))
def test_an_error_tells_a_place_in_the_source(case: Case) -> None:
    for error in ask(case, case["context"]).errors:
        assert error.source is not None and error.at is not None
        assert 0 <= error.at <= len(error.source)
        assert "column" in str(error)
