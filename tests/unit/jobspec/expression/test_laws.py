"""Laws of expressions, with random sources and random trees: own words only, within the bounds, each time the same."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.jobspec import template
from engine.jobspec.expression import bounds
from engine.jobspec.expression.bounds import EVALUATION_STEPS, Budget
from engine.jobspec.expression.check import Scope, check, text_map
from engine.jobspec.expression.errors import ExpressionError, Reason
from engine.jobspec.expression.evaluate import ALWAYS, evaluate, evaluate_text
from engine.jobspec.expression.kinds import ANY, type_of
from engine.jobspec.expression.parse import Expression, parse
from engine.jobspec.expression.tools import Outside
from engine.jobspec.expression.values import kind_of, parts
from tests.support.expressions import garbled, likely, nonsense

#: On a busy machine drawing an example takes as long as hypothesis has for ten.
SECRET = "s3cr3t-Value-4711"
CONTEXT: dict[str, Any] = {
    "inputs": {"n": "7", "name": "Ada", "list": "[1, 2.5, null]", "empty": "", "secret": SECRET},
    "tasks": {"chunks": '[{"start": 0, "len": 10.5}]'},
    "job": {"id": "6f2a90", "name": "nightly"},
    "secrets": {"key": SECRET},
    "item": {"index": "2", "value": {"size": 300, "ratio": 0.5, "tags": ["x", "y"], "no": None, "ok": True}},
    "private": [SECRET, {"deep": SECRET, SECRET: 1}],
}
SCOPE = Scope({**dict.fromkeys(ALWAYS, text_map()), "item": type_of(CONTEXT["item"]), "private": ANY})
OUTSIDE = Outside(1_750_000_000_000, lambda below: below - 1)
CASES = Path(__file__).with_name("cases.jsonl").read_text().splitlines()
SEEDS = [str(case.get("expr", case.get("template"))) for case in map(json.loads, CASES)]


def parsed(source: str) -> Expression | None:
    """Parse a source; an error must be in our own words."""
    try:
        return parse(source)
    except ExpressionError as error:
        expect_our_words(error)
        return None


def expect_our_words(error: ExpressionError) -> None:
    assert error.reason is not Reason.DEFECT, (error.source, repr(error.__cause__))
    assert error.source is not None and error.at is not None and error.at <= len(error.source)
    if SECRET not in error.source:
        assert SECRET not in str(error)


def expect_bounds(value: Any) -> None:
    for part, depth in parts(value):
        assert depth <= bounds.VALUE_DEPTH
        assert kind_of(part) != "func"
        if isinstance(part, str):
            assert len(part.encode()) <= bounds.TEXT_BYTES
        if isinstance(part, list | dict):
            assert len(part) <= bounds.LIST_LENGTH
        if isinstance(part, int):
            assert bounds.LEAST_INTEGER <= part <= bounds.GREATEST_INTEGER


def answer(expression: Expression, budget: Budget) -> Any:
    try:
        value = evaluate(expression, CONTEXT, OUTSIDE, budget)
    except ExpressionError as error:
        expect_our_words(error)
        return error.reason
    expect_bounds(value)
    return value


@settings(max_examples=400)
@given(garbled(SEEDS))
@example("duration('1h') * 1e308 * 1e308")
@example("max([[nil]])")
@example("date('2024-02-29') - date('0001-01-01')")
@example('"\\ud800"')
def test_any_text_is_evaluated_or_refused_in_our_words(source: str) -> None:
    expression = parsed(source)
    if expression is not None:
        began, budget = time.process_time(), Budget()
        answer(expression, budget)
        assert bounds.BATCH_STEPS - budget.left <= EVALUATION_STEPS
        assert time.process_time() - began < 5


@settings(max_examples=600)
@given(st.one_of(likely, nonsense))
def test_a_random_tree_gives_the_same_each_time_and_its_text_is_bounded(source: str) -> None:
    expression = parsed(source)
    if expression is None:
        return
    first, second = answer(expression, Budget()), answer(expression, Budget())
    assert repr(first) == repr(second)
    try:
        text = evaluate_text(expression, CONTEXT, OUTSIDE, Budget())
    except ExpressionError as error:
        expect_our_words(error)
    else:
        assert len(text.encode()) <= bounds.TEXT_BYTES


@settings(max_examples=400)
@given(st.one_of(likely, nonsense))
def test_the_check_ends_and_knows_the_kind_of_what_it_lets_pass(source: str) -> None:
    expression = parsed(source)
    if expression is None:
        return
    problems, result = check(expression, SCOPE)
    for problem in problems:
        expect_our_words(problem)
    if not problems:
        try:
            value = evaluate(expression, CONTEXT, OUTSIDE, Budget())
        except ExpressionError:
            return
        # Texts of the context may be absent, which only running tells.
        assert kind_of(value) in result.kinds or value is None or not result.kinds


segments = st.one_of(st.one_of(likely, nonsense).map("{{{{ {} }}}}".format), st.text(max_size=5))
texts = st.one_of(st.text(max_size=60), st.lists(segments, max_size=3).map("".join))


@settings(max_examples=200)
@given(texts)
def test_any_template_is_evaluated_or_refused_and_stored_as_it_was(text: str) -> None:
    try:
        read = template.parse(text)
    except ExpressionError as error:
        expect_our_words(error)
        return
    form = json.loads(json.dumps(template.stored(read)))
    again = template.restored(form)
    assert isinstance(again, template.Template)
    assert again.expressions == read.expressions
    try:
        made = template.evaluate(again, CONTEXT, OUTSIDE, Budget())
        if isinstance(made, template.Late):
            late = template.restored(json.loads(json.dumps(template.stored(made))))
            assert isinstance(late, template.Late)
            template.reveal(late, CONTEXT["secrets"], OUTSIDE, Budget())
    except ExpressionError as error:
        expect_our_words(error)


@given(st.text(max_size=200))
def test_what_an_expression_yields_is_never_parsed(value: str) -> None:
    read = template.parse("[{{ inputs.x }}]")
    text = template.evaluate(read, {"inputs": {"x": value}}, OUTSIDE, Budget())
    assert text == f"[{value}]"
