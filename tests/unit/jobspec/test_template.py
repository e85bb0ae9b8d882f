"""Templates: segments, the stored form, late segments of secrets, lists, conditions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.jobspec import template
from engine.jobspec.expression.bounds import BATCH_STEPS, Budget
from engine.jobspec.expression.check import Scope, text_map
from engine.jobspec.expression.errors import ExpressionError, Reason
from engine.jobspec.expression.kinds import ANY
from engine.jobspec.expression.tools import Outside
from engine.jobspec.template import Late, Template

OUTSIDE = Outside(1_750_000_000_000, lambda below: below - 1)
CONTEXT: dict[str, Any] = {
    "inputs": {"x": "7", "name": "{{ inputs.x }}", "list": "[1,2]"},
    "tasks": {"a": "one"},
    "item": {"index": "0", "value": {"file": "c.mov", "secret": "no"}},
}
SCOPE = Scope(
    {
        "inputs": text_map(["x", "name", "list"], "the input {name} is not declared"),
        "item": ANY,
        "secrets": text_map(),
    }
)


def evaluated(text: str, context: dict[str, Any] = CONTEXT) -> str | Late:
    return template.evaluate(template.parse(text), context, OUTSIDE, Budget())


def stored_again(made: Template | Late) -> Template | Late:
    return template.restored(json.loads(json.dumps(template.stored(made))))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("plain { } text }}", "plain { } text }}"),
        ("{{", "{{"),
        ("a {{ b", "a {{ b"),
        ("}} {{", "}} {{"),
        ("{{ inputs.x }}", "7"),
        ("a{{inputs.x}}b{{ tasks.a }}c", "a7bonec"),
        ('{{ "{{" }}', "{{"),
        ('{{ "}}" }}', "}}"),
        ("{{ {a: {b: 1}} }}", '{"a": {"b": 1}}'),
        ("{{{a: 1}}}", '{"a": 1}'),
        ("{{ 1 +\n  2 }}", "3"),
        ("{{ `a\n}}` }}", "a\n}}"),
        ("{{ 1 /* }} */ }}", "1"),
        ("{{ inputs.name }}", "{{ inputs.x }}"),
        ("{{ inputs.none }}|{{ nil }}", "|"),
        ("{{ [1, nil, 'a'] }}", '[1, null, "a"]'),
        ('{"n": {{ inputs.x }}}', '{"n": 7}'),
    ],
)
def test_a_text_with_expressions(text: str, result: str) -> None:
    assert evaluated(text) == result
    again = stored_again(template.parse(text))
    assert isinstance(again, Template)
    assert template.evaluate(again, CONTEXT, OUTSIDE, Budget()) == result


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("{{ }}", 3, "expected a value, found the end"),
        ("{{}}", 2, "expected a value, found the end"),
        ("ab {{ 1 + }}", 6, "column 4: expected a value, found the end"),
        ("ab {{ 1 {{ 2 }}", 5, "expected `}}` at the end of the expression"),
        ("ab {{ 'c }}", 5, "expected ' at the end of the text"),
        ("{{ {a: 1} }", 0, ""),
        ("{{ 1 }} {{ @ }}", 10, "found the character U+0040"),
        ("x" * 20 + "{{ " + "1 + " * 2_000 + "1 }}", 23, "an expression may have 4,096 bytes"),
        ("{{1}}" * 1_001, 0, "a text may have 1,000 expressions"),
    ],
)  # fmt: skip
def test_a_text_that_is_no_template(text: str, offset: int, words: str) -> None:
    if not words:
        assert template.parse(text).expressions == ()
        return
    with pytest.raises(ExpressionError) as caught:
        template.parse(text)
    assert words in str(caught.value)
    assert caught.value.offset == offset


def test_a_plain_text_is_stored_as_itself_and_a_template_in_segments() -> None:
    assert template.stored(template.parse("plain {{")) == "plain {{"
    assert template.stored(template.parse("a {{ inputs.x }}!")) == {"t": ["a ", {"e": "inputs.x"}, "!"]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1, 2]", [1, 2]),
        ("{{ fromJSON(inputs.list) }}", [1, 2]),
        (" {{ {a: 1} }} ", {"a": 1}),
        ("fromJSON(inputs.list)", [1, 2]),
        ('["{{", "}}"]', ["{{", "}}"]),
        ("\n  {{ [1,\n2] }}\n", [1, 2]),
    ],
)
def test_the_list_of_an_each_keeps_its_type(text: str, value: object) -> None:
    assert template.value(template.parse_list(text), CONTEXT, OUTSIDE, Budget()) == value


@pytest.mark.parametrize("text", ["x {{ [1] }}", "{{ [1] }} y", "{{ [1] }}{{ [2] }}", "{{ 1", "", " "])
def test_a_list_with_anything_around_it_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        template.parse_list(text)
    assert caught.value.reason is Reason.SYNTAX


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("true", True),
        ("false", False),
        (" false ", False),
        ("{{ inputs.x == '7' }}", True),
        ("{{ inputs.x != '7' }}", False),
        ("{{ 'False' }}", True),
        ("{{ 0 }}", True),
        ("{{ nil }}", True),
        ("{{ 'fal' }}se", False),
        ("inputs.x == '8'", True),
    ],
)
def test_a_condition_holds_unless_it_says_false(text: str, runs: bool) -> None:
    assert template.holds(template.parse(text), CONTEXT, OUTSIDE, Budget()) is runs


@pytest.mark.parametrize("text", ["{{ [] }}", "{{ {a: 1} }}"])
def test_a_condition_that_is_a_list_or_map_fails_in_words(text: str) -> None:
    with pytest.raises(ExpressionError, match="expected a bool or a text for if, found a "):
        template.holds(template.parse(text), CONTEXT, OUTSIDE, Budget())


# Secrets


def test_an_expression_with_secrets_is_late_and_carries_all_else_that_it_mentions() -> None:
    made = evaluated("{{ inputs.x }} Bearer {{ secrets.k + item.value.file + (inputs.none ?? '') }}!")
    assert isinstance(made, Late)
    form = template.stored(made)
    expression = "secrets.k + item.value.file + (inputs.none ?? '')"
    values = {"inputs": {}, "item": {"value": CONTEXT["item"]["value"]}}
    assert form == {"late": ["7", " Bearer ", {"e": expression, "with": values}, "!"]}
    again = stored_again(made)
    assert isinstance(again, Late)
    assert template.reveal(again, {"k": "s3cr3t-"}, OUTSIDE, Budget()) == "7 Bearer s3cr3t-c.mov!"


def test_a_secret_is_nowhere_in_what_is_stored() -> None:
    context = {**CONTEXT, "secrets": {"k": "s3cr3t-Value", "other": "s3cr3t-Other"}}
    for text in (
        "{{ secrets.k }}",
        "{{ $env.secrets.k + inputs.x }}",
        "{{ secrets }}",
        "{{ 'k' in secrets }}",
    ):
        made = evaluated(text, context)
        assert isinstance(made, Late) and "s3cr3t" not in json.dumps(template.stored(made))


def test_a_late_text_that_fails_tells_no_secret() -> None:
    made = evaluated("{{ int(secrets.k) + int(inputs.x) }}")
    assert isinstance(made, Late)
    with pytest.raises(ExpressionError) as caught:
        template.reveal(made, {"k": "s3cr3t-Value"}, OUTSIDE, Budget())
    assert "s3cr3t" not in str(caught.value) + repr(caught.value)


def problems(text: str, may_have_secrets: bool = False) -> list[tuple[int, str]]:
    return [
        (error.offset, error.message)
        for error in template.check(template.parse(text), SCOPE, may_have_secrets)
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a {{ secrets.k }}", "expected no secrets here"),
        ("a {{ $env }}", "expected no secrets here"),
        ("a {{ [secrets] }}", "expected no secrets here"),
    ],
)
def test_a_field_that_is_stored_or_shown_may_not_mention_secrets(text: str, words: str) -> None:
    ((offset, message),) = problems(text)
    assert offset == 5 and message.startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ secrets.k }}", None),
        ("{{ secrets.k + tasks.a }}", None),
        ("{{ secrets.k + tasks[inputs.x] }}", "expected only `tasks.NAME` beside secrets"),
        ("{{ toJSON($env) }}", "expected only `tasks.NAME` beside secrets"),
        ("{{ secrets.k + string(now()) }}", "expected no now() beside secrets"),
        ("{{ secrets.k + string(randomInt(5)) }}", "expected no randomInt() beside secrets"),
    ],
)
def test_secrets_where_they_are_allowed(text: str, words: str | None) -> None:
    found = problems(text, may_have_secrets=True)
    assert [message.startswith(words or "") for _, message in found] == [True] * bool(words)


# The check


def test_all_problems_of_a_text_are_told_each_at_its_offset() -> None:
    assert problems("{{ inputs.y }} and {{ upper(1) }}{{ 1 % 0 }}") == [
        (3, "the input y is not declared"),
        (22, "expected a text as the first argument of upper(), found an integer"),
        (36, "expected a divisor other than 0, found 0"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ fromJSON('{') }}", "expected JSON"),
        ("{{ [1][5] }}", "expected a place within the list"),
        ("{{ repeat('a', 2000000) }}", "a text may have"),
        ("{{ int('a') }}", "expected a text of digits"),
        ("{{ int(inputs.x) }}", None),
        ("{{ date('no') > now() }}", None),
    ],
)
def test_what_needs_no_context_is_evaluated_at_submission(text: str, words: str | None) -> None:
    found = problems(text)
    assert [message.startswith(words or "") for _, message in found] == [True] * bool(words)


def test_the_type_of_a_template_is_known() -> None:
    assert template.result_type(template.parse_list("1..3"), SCOPE).kinds == {"array"}
    assert template.result_type(template.parse("a {{ 1 }}"), SCOPE).kinds == {"string"}


def test_the_names_of_a_template_are_those_of_its_expressions() -> None:
    found = template.names(template.parse("{{ inputs.x }} {{ keys(tasks) }} {{ item.value.file }}"))
    assert found.keys == {("inputs", "x"), ("item", "value")} and found.whole == {"tasks"}
    assert found.have("tasks") and not found.have("secrets") and found.names == {"inputs", "item", "tasks"}


# Bounds


def test_a_text_made_of_large_values_is_refused() -> None:
    big = {"inputs": {"x": "a" * (600 << 10)}}
    with pytest.raises(ExpressionError, match="a text may have 1,048,576 bytes, this one has 1,228,800"):
        evaluated("{{ inputs.x }}{{ inputs.x }}", big)


def test_the_expressions_of_a_text_share_a_budget() -> None:
    read, budget = template.parse("{{ len(map(1..9000, # * 2)) }}" * 100), Budget()
    with pytest.raises(ExpressionError, match="evaluated together take more than 1,000,000 steps"):
        template.evaluate(read, {}, OUTSIDE, budget)
    assert 0 <= budget.left < BATCH_STEPS
