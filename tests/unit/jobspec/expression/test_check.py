"""Check before anything runs: names, arguments, types; and what errors tell."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.jobspec.expression import evaluate as evaluation
from engine.jobspec.expression.bounds import Budget
from engine.jobspec.expression.check import Scope, check, text_map
from engine.jobspec.expression.errors import ExpressionError, Reason
from engine.jobspec.expression.evaluate import evaluate
from engine.jobspec.expression.functions.known import FUNCTIONS, METHODS
from engine.jobspec.expression.kinds import BOOL, INT, TEXT, list_of, map_of
from engine.jobspec.expression.parse import parse
from engine.jobspec.expression.tools import Outside

OUTSIDE = Outside(1_750_000_000_000, lambda below: below - 1)
SCOPE = Scope(
    {
        "inputs": map_of(
            TEXT,
            {"size": INT, "name": TEXT, "on": BOOL, "tags": list_of(TEXT)},
            "the input {name} is not declared",
        ),
        "tasks": text_map(["chunks"], "no earlier task sets tasks.{name}"),
    }
)

IN = "expected after in a list or a map that could have the left side"
PLUS = "expected two numbers, two texts, or dates and durations around +, found a text and an integer"


def problems(source: str, scope: Scope = SCOPE) -> list[str]:
    return [f"{error.place[1]}: {error.message}" for error in check(parse(source), scope)[0]]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("inputs.siez + 1", "8: the input siez is not declared; did you mean `size`?"),
        ('inputs["x"]', "7: the input x is not declared"),
        ("inputs?.x", "9: the input x is not declared"),
        ("tasks.later", "7: no earlier task sets tasks.later"),
        ("$env.other + 1", None),
        ("item.value", "1: unknown name `item`"),
        ("input.size", "1: unknown name `input`; did you mean `inputs`?"),
        ("uper(inputs.name)", "1: unknown function `uper`; did you mean `upper`?"),
        ("join()", "1: expected join(list: list, separator: text?) -> text, found 0 arguments"),
        ("now(1)", "1: expected now() -> date, found 1 argument"),
        ("upper(inputs.size)", "7: expected a text as the first argument of upper(), found an integer"),
        ("max('a')", "5: expected a number or a list as the first argument of max(), found a text"),
        ("inputs.name + 1", f"13: {PLUS}"),
        ("inputs.size == '7'", "13: expected values of one kind around ==, found an integer and a text"),
        ("inputs.size ? 1 : 2", "1: expected a bool as a condition, found an integer"),
        ("not inputs.name", "1: expected a bool after not, found a text"),
        ("-inputs.name", "1: expected a number after -, found a text"),
        ("inputs.tags.x", "13: expected an integer as the place in a list, found a text"),
        ("inputs.name.x", "13: expected a map or a list before this, found a text"),
        ("inputs.name[0]", "12: expected a map or a list before this, found a text"),
        ("inputs.size[1:]", "12: expected a text or a list to slice, found an integer"),
        ("inputs.name['a':]", "13: expected an integer in the slice, found a text"),
        ("inputs.name.Year()", "13: expected a method of a text, found `Year`"),
        ("now().Yaer()", "7: expected a method of a date, found `Yaer`"),
        ("now().Add(1)", "11: expected a duration as the first argument of Add(), found an integer"),
        ("filter(inputs.tags, #)", "21: expected a bool as the answer of the predicate, found a text"),
        ("map(inputs.name, #)", "5: expected a list as the first argument of map(), found a text"),
        ("map(inputs.tags, # + 1)", f"20: {PLUS}"),
        ("map(inputs.tags, #other)", "18: expected #, #index or #acc, found `#other`"),
        ("inputs.size % 0", "13: expected a divisor other than 0, found 0"),
        ("inputs.size / 0", "13: expected a divisor other than 0, found 0"),
        ("'x' in 'xyz'", f"5: {IN}, found a text and a text"),
        ("inputs.size in inputs.tags", f"13: {IN}, found an integer and a list"),
        ("{(inputs.size): 1}", "3: expected a text as key, found an integer"),
        ("let size = 1; let size = 2; size", "15: expected a new name, found `size`, which has a value already"),
        ("let inputs = 1; inputs", "1: expected a new name, found `inputs`, which the context has"),
        ("let len = 1; len", "1: expected a new name, found `len`, a function"),
        ("let f = 1; f()", "12: expected a function, found an integer: the name `f` is taken"),
        ("inputs()", "1: expected a function, found a map: the name `inputs` is taken"),
        ("job()", "1: expected a function, found a map: the name `job` is taken"),
        ("len.x", "5: expected a map or a list before this, found a function"),
    ],
)  # fmt: skip
def test_a_problem_is_told_with_its_column_and_what_was_expected(source: str, words: str | None) -> None:
    assert problems(source) == ([] if words is None else [words])


def test_all_problems_are_told_at_once_in_their_order() -> None:
    assert problems("tasks.a + inputs.b + upper(1)") == [
        "7: no earlier task sets tasks.a",
        "18: the input b is not declared",
        "28: expected a text as the first argument of upper(), found an integer",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "inputs.other ?? 1",
        "inputs['other'] ?? 1",
        "inputs?.other ?? 1",
        "'other' in inputs ? inputs.other : 1",
        "'other' in inputs and inputs.other != ''",
        "inputs.other == nil or inputs.other == 'x'",
        "inputs.other != nil ? inputs.other : 1",
        "get(inputs, 'other')",
        "tasks.later ?? tasks.chunks",
        "keys(inputs)",
        "inputs[inputs.name]",
    ],
)
def test_a_name_that_is_asked_for_first_need_not_be_there(source: str) -> None:
    assert problems(source) == []


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("1 + 2", {"int"}),
        ("1 + 2.0", {"float"}),
        ("7 / 2", {"float"}),
        ("inputs.size", {"int"}),
        ("inputs.other ?? 'x'", {"string"}),
        ("split(inputs.name, ',')[0]", {"string"}),
        ("first(split(inputs.name, ','))", {"string"}),
        ("map(1..3, # * 2)[0]", {"int"}),
        ("filter(1..3, # > 1) | last()", {"int"}),
        ("now() - now()", {"time.Duration"}),
        ("now() - duration('1h')", {"time.Time"}),
        ("duration('1h') * 2", {"time.Duration"}),
        ("now().Year()", {"int"}),
        ("true ? 1 : 'a'", {"int", "string"}),
        ("let x = 1; x == 2", {"bool"}),
        ("-duration('1h')", {"time.Duration"}),
        ("inputs.name[1:]", {"string"}),
        ("1 < 2 < 3", {"bool"}),
    ],
)
def test_the_type_of_the_value_is_known_where_it_can_be(source: str, kinds: set[str]) -> None:
    scope = Scope({**SCOPE.names, "inputs": map_of(TEXT, {"size": INT, "name": TEXT})})
    found, result = check(parse(source), scope)
    assert found == [] and set(result.kinds) == kinds


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_example_of_every_function_passes_the_check_and_has_the_kind_of_its_signature(name: str) -> None:
    expect_example(FUNCTIONS[name].example)


@pytest.mark.parametrize(
    "method",
    [method for table in METHODS.values() for method in table.values()],
    ids=lambda method: method.name,
)
def test_the_example_of_every_method_too(method: Any) -> None:
    expect_example(method.example)


def expect_example(source: str) -> None:
    found, result = check(parse(source), Scope())
    value = evaluate(parse(source), {}, OUTSIDE, Budget())
    assert found == [] and evaluation.kind_of(value) in result.kinds | {"nil"}


SECRET = "s3cr3t-Value-4711"


@pytest.mark.parametrize(
    "source",
    [
        "int(inputs.x)", "float(inputs.x)", "fromJSON(inputs.x)", "fromBase64(inputs.x)",
        "duration(inputs.x)", "date(inputs.x)", "timezone(inputs.x)", "inputs.x + 1", "inputs.x.y",
        "inputs.x()", "upper(inputs)", "-inputs.x", "not inputs.x", "sum([inputs.x])",
        "sort([inputs.x, 1])", "fromPairs([inputs.x])", "inputs[1]", "[1][inputs.x]", "inputs.x..3",
        "sort(1..2, inputs.x)", "max([inputs.x])", "join([inputs, inputs.x])", "mean([inputs.x])",
        "{(inputs): 1}", "1 in inputs.x", "inputs.x matches '(' + inputs.x", "inputs.x < 1",
        "map(inputs.x, #)", "reduce([], #acc, inputs.x).y", "now().Format(inputs)",
        "date('x', inputs.x)", "fromJSON('[' + inputs.x)", "repeat(inputs.x, -1)", "string(inputs.x).Year()",
        "groupBy([inputs], #)",
    ],
)  # fmt: skip
def test_an_error_never_tells_a_value(source: str) -> None:
    context = {"inputs": {"x": SECRET}}
    with pytest.raises(ExpressionError) as caught:
        evaluate(parse(source), context, OUTSIDE, Budget())
    assert SECRET not in str(caught.value) and SECRET not in repr(caught.value)
    assert SECRET not in str(caught.value.__dict__)
    assert source[:20] in str(caught.value) and "column" in str(caught.value)


def test_an_error_shows_the_place_in_a_long_expression_over_several_lines() -> None:
    source = "'" + "a" * 100 + "' +\n  inputs.x.y"
    with pytest.raises(ExpressionError) as caught:
        evaluate(parse(source), {"inputs": {"x": "1"}}, OUTSIDE, Budget())
    assert caught.value.place == (2, 12)
    assert str(caught.value) == (
        r"`…aaaaaaaaaaaaaaa' +\n  inputs.x.y`, line 2, column 12: "
        "expected a map or a list, found a text; a text is sliced: [0:1]"
    )


def test_a_defect_is_an_error_of_ours_with_its_cause() -> None:
    def draw(below: int) -> int:
        raise OSError(SECRET)

    with pytest.raises(ExpressionError) as caught:
        evaluate(parse("1 + randomInt(5)"), {}, Outside(0, draw), Budget())
    assert caught.value.reason is Reason.DEFECT
    assert isinstance(caught.value.__cause__, OSError)
    assert "a defect in Ferryman's evaluation (OSError)" in str(caught.value) and SECRET not in str(
        caught.value
    )


def test_time_and_chance_are_arguments() -> None:
    outside = Outside(1_750_000_000_000, lambda below: below - 3)
    assert evaluate(parse("now().Unix()"), {}, outside, Budget()) == 1_750_000_000
    assert evaluate(parse("randomInt(10)"), {}, outside, Budget()) == 7
    assert evaluate(parse("randomInt()"), {}, outside, Budget()) == 2**63 - 4


@pytest.mark.parametrize(
    ("source", "whole", "keys"),
    [
        ("inputs.a + inputs['b'] + tasks?.c", set(), {("inputs", "a"), ("inputs", "b"), ("tasks", "c")}),
        ("tasks[inputs.a]", {"tasks"}, {("inputs", "a")}),
        ("keys(tasks)", {"tasks"}, set()),
        ("'a' in tasks and tasks.a != ''", set(), {("tasks", "a")}),
        ("inputs.a in tasks", {"tasks"}, {("inputs", "a")}),
        ("item.value.x", set(), {("item", "value")}),
        ("map(item.value, # + inputs.a)", set(), {("item", "value"), ("inputs", "a")}),
        ("let x = inputs.a; x", set(), {("inputs", "a")}),
        ("let x = {a: 1}; x.a", set(), set()),
        ("$env.inputs.a", set(), {("inputs", "a")}),
        ("$env.inputs", {"inputs"}, set()),
        ("'inputs' in $env", {"$env"}, set()),
        ("$env[inputs.a]", {"$env"}, {("inputs", "a")}),
        ("1 + 2", set(), set()),
    ],
)
def test_what_an_expression_mentions_is_known(
    source: str, whole: set[str], keys: set[tuple[str, str]]
) -> None:
    found = parse(source).mentions
    assert (set(found.whole), set(found.keys)) == (whole, keys)


def test_the_part_of_a_context_that_is_mentioned_is_enough() -> None:
    context = {
        "inputs": {"a": "1", "b": "2"},
        "tasks": {"c": "3"},
        "item": {"value": 4, "index": "0"},
        "job": {"id": "x"},
    }
    source = "inputs.a + tasks.c + string(item.value) + (inputs.none ?? '')"
    part = parse(source).mentions.part_of(context)
    assert part == {"inputs": {"a": "1"}, "tasks": {"c": "3"}, "item": {"value": 4}}
    assert (
        evaluate(parse(source), part, OUTSIDE, Budget())
        == evaluate(parse(source), context, OUTSIDE, Budget())
        == "134"
    )


def test_what_is_not_a_number_is_printed_as_such() -> None:
    assert math.isnan(evaluate(parse("float('nan')"), {}, OUTSIDE, Budget()))
    texts = [
        evaluation.evaluate_text(parse(source), {}, OUTSIDE, Budget())
        for source in ("float('nan')", "-1e308 * 10")
    ]
    assert texts == ["NaN", "-Inf"]
