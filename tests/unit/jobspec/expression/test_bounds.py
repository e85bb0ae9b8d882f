"""Attacks on the bounds of expressions: each ends soon, with the words of its bound."""

from __future__ import annotations

import time
from typing import Any

import pytest

from engine.jobspec.expression import bounds
from engine.jobspec.expression.bounds import BATCH_STEPS, EVALUATION_STEPS, Budget
from engine.jobspec.expression.errors import ExpressionError, Reason
from engine.jobspec.expression.evaluate import evaluate, evaluate_text
from engine.jobspec.expression.parse import parse
from engine.jobspec.expression.patterns import IS_AVAILABLE
from engine.jobspec.expression.tools import Outside

OUTSIDE = Outside(1_750_000_000_000, lambda below: below - 1)
MIB = 1 << 20
#: Processor time that no attack needs, on a slow and busy machine either.
MOST_SECONDS = 5.0


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CONTEXT: dict[str, Any] = {
    "inputs": {
        "big": "a" * MIB,
        "half": "b" + "a" * (MIB // 2),
        "wide": "é" * (MIB // 2),
        "sharp": "ß" * (MIB // 2),
        "pairs": "ab" * (MIB // 2),
        "brackets": "[" * (MIB // 2),
        "commas": f"[{','.join(['[]'] * 349_000)}]",
        "open": "[1," * 300_000,
        "digits": "9" * MIB,
        "deep": "[" * 150 + "]" * 150,
        "long": f"[{','.join('1' * 10_001)}]",
        "base64": "YWFh" * 100_000,
    },
    "item": {
        "list": list(range(10_000)),
        "texts": ["a" * MIB] * 10_000,
        "deep": nested(99),
        "map": {str(number): number for number in range(10_000)},
        "pairs": [[str(number), number] for number in range(10_000)],
    },
}
STEPS, TEXT, LENGTH, DEPTH, LEVELS = (
    "more than 100,000 steps",
    "a text may have 1,048,576 bytes",
    "a list or map may have 10,000 elements",
    "a value may be nested 100 levels deep",
    "an expression may be nested 60 levels deep",
)

PARSED = [
    ("1" * 5_000, "an expression may have 4,096 bytes, this one has 5,000"),
    ("é" * 2_049, "an expression may have 4,096 bytes, this one has 4,098"),
    ("(" * 2_000 + "1" + ")" * 2_000, LEVELS),
    ("[" * 2_000 + "]" * 2_000, LEVELS),
    ("-" * 4_000 + "1", LEVELS),
    ("not " * 1_000 + "true", LEVELS),
    ("2**" * 1_300 + "2", LEVELS),
    ("{a:" * 1_000 + "1" + "}" * 1_000, LEVELS),
    ("true?1:" * 500 + "1", LEVELS),
    ("if true {1} else " * 200 + "{1}", LEVELS),
    ("map([1]," * 400 + "#" + ")" * 400, LEVELS),
    ("[1]" + "|reverse()" * 300, LEVELS),
    ("if true {" * 150 + "1" + "} else {1}" * 150, LEVELS),
    ("(1 or 1 and 1 == 1 .. 1 + 1 * -1 ** 1 ?? " * 70 + "1" + ")" * 70, LEVELS),
]

EVALUATED = [
    # Steps
    ("all(1..100, all(1..100, all(1..100, true)))", STEPS),
    ("all(item.list, all(item.list, true))", STEPS),
    ("map(1..10000, map(1..10000, #))", STEPS),
    ("map(1..10000, 1..10000)", STEPS),
    ("all(item.list, # in item.list)", STEPS),
    ("all(item.list, item.list[1:] != 1)", STEPS),
    ("all(item.list, inputs.big[1:] != '')", STEPS),
    ("reduce(1..10000, concat(#acc, [#]), [])", STEPS),
    ("reduce(1..10000, #acc + '0123456789012345678901234567890123456789', '')", STEPS),
    ("all(1..10000, inputs.big == inputs.big)", STEPS),
    ("all(1..10000, inputs.big <= inputs.big)", STEPS),
    ("none(1..10000, inputs.big contains inputs.half)", STEPS),
    ("all(item.list, inputs.big endsWith inputs.big)", STEPS),
    ("all(1..10000, sha256(inputs.big) != '')", STEPS),
    ("all(item.list, len(split(inputs.pairs, 'ba', 3)) > 0)", STEPS),
    ("all(item.list, date('2024-01-01') != nil)", STEPS),
    ("all(item.list, date('2024-01-01').Format('2006') != '')", STEPS),
    ("sort(item.texts)", STEPS),
    ("sortBy(item.list, inputs.big)", STEPS),
    ("uniq(item.texts)", STEPS),
    ("len(groupBy(item.texts, # == inputs.big))", STEPS),
    ("upper(inputs.sharp)", STEPS),
    ("fromJSON(inputs.commas)", STEPS),
    ("trim(inputs.big, join(map(1..9, string(#))) + 'abcdefghijklmnopqrstuvwxyz')[:0] + repeat(inputs.big, 1)[:0]"
     " + string(all(1..20, trim(inputs.big, 'abcdefghijklmnop') == ''))", STEPS),
    # Shared parts grow by the power of two only where they are looked at.
    ("string(reduce(1..60, [#acc, #acc], 0))", STEPS),
    ("reduce(1..60, [#acc, #acc], 0) == reduce(1..60, [#acc, #acc], 0)", STEPS),
    ("flatten(reduce(1..60, [#acc, #acc], 0))", STEPS),
    ("uniq([reduce(1..60, [#acc, #acc], 0)])", STEPS),
    ("max(reduce(1..60, [#acc, #acc], 0))", STEPS),
    ("reduce(1..60, [#acc, #acc], 0)", STEPS),
    # Texts
    ("toJSON(reduce(1..60, ({a: #acc, b: #acc}), 0))", TEXT),
    ("inputs.big + 'a'", TEXT),
    ("inputs.wide + 'a'", TEXT),
    ("repeat('a', 9223372036854775807)", TEXT),
    ("replace(inputs.big, 'a', 'aa')", TEXT),
    ("replace(inputs.big, '', 'b')", TEXT),
    ("replace(inputs.big, 'a', inputs.big)", TEXT),
    ("replace('ab', 'b', inputs.big)", TEXT),
    ("join(item.texts)", TEXT),
    ("join(map(item.list, ''), inputs.big)", TEXT),
    ("toBase64(inputs.big)", TEXT),
    ("string(item.texts)", TEXT),
    ("toJSON(item.texts)", TEXT),
    # Lists
    ("1..9223372036854775807", LENGTH),
    ("sequence(-9223372036854775807, 9223372036854775807)", LENGTH),
    ("concat(item.list, [1])", LENGTH),
    ("reduce(1..100, concat(#acc, #acc), [1])", LENGTH),
    ("flatten([item.list, 1])", LENGTH),
    ("split(inputs.big, 'a')", LENGTH),
    ("split(inputs.big, '')", LENGTH),
    ("splitAfter(inputs.pairs, 'b')", LENGTH),
    # Depth
    ("reduce(1..5000, [#acc], 0)", DEPTH),
    ("string(reduce(1..5000, [#acc], 0))", DEPTH),
    ("reduce(1..5000, [#acc], 0) == reduce(1..5000, [#acc], 0)", DEPTH),
    ("flatten(reduce(1..5000, [#acc], 0))", DEPTH),
    ("max(reduce(1..5000, [#acc], 0))", DEPTH),
    ("uniq(reduce(1..5000, [#acc], 0))", DEPTH),
    ("string([[item.deep]])", DEPTH),
    ("fromJSON(inputs.brackets)", DEPTH),
    ("fromJSON(inputs.open)", DEPTH),
    ("len(fromJSON(inputs.deep))", DEPTH),
    ("uniq([reduce(1..200, ({a: #acc}), 0)])", DEPTH),
    ("fromJSON(inputs.long)", LENGTH),
    # Integers
    ("9223372036854775807 + 1", "beyond 64 bits"),
    ("-9223372036854775807 - 2", "beyond 64 bits"),
    ("reduce(1..10000, #acc * 10, 1)", "beyond 64 bits"),
    ("int(1e300)", "beyond 64 bits"),
    ("bitshl(9223372036854775807, 63)", "beyond 64 bits"),
    ("bitshl(1, 9223372036854775807)", "a shift of 0 to 63 bits"),
    ("duration('2562047h') * 2", "beyond 64 bits"),
    ("duration('1h') * 1e300", "292 years"),
    ("date('2024-01-01').AddDate(999999, 0, 0)", "between the years 1 and 9999"),
    # Texts that are read
    ("int(inputs.digits)", "a text of digits"),
    ("float(inputs.digits)", "a text that is a number"),
    ("duration(inputs.digits)", "a duration such as"),
    ("date(inputs.digits)", "a date such as"),
    ("date('x', inputs.digits)", "a layout may have 256 characters"),
    ("timezone(inputs.digits)", "a time zone such as"),
    ("timezone('../../../etc/passwd')", "a time zone such as"),
]  # fmt: skip

PATTERNS = [
    ("'x' matches inputs.big", "a regular expression may have 1,000 bytes"),
    ("'x' matches '(((a{1,100}){1,100}){1,100})'", "expected a regular expression"),
    ("'x' matches `" + r"(\pL{1,90}){1,10}" * 30 + "`", "expected a regular expression"),
    ("none(1..10000, inputs.big matches '(a+a+)+b')", STEPS),
    ("inputs.big matches '(a?){500}a{500}b'", STEPS),
    ("inputs.big matches '[^b]{900}b'", STEPS),
    ("none(1..10000, '' matches string(#))", STEPS),
]

CHEAP = [
    ("1+" * 2_000 + "1", 2_001),
    ("'a'" + ".b" * 0 + "+'a'" * 900, "a" * 901),
    ("indexOf(inputs.big, inputs.half)", -1),
    ("lastIndexOf(inputs.big, 'ab' + inputs.half)", -1),
    ("len(trim(inputs.big, inputs.pairs))", 0),
    ("len(lower(inputs.wide))", MIB // 2),
    ("len(map(item.list, # * 2))", 10_000),
    ("len(string(item.deep))", 200),
    ("({}.x" + " ?? {}.x" * 400 + ") ?? 7", 7),
    ("let a = 1; " * 1 + "a;" * 1_000 + "a", 1),
]  # fmt: skip


def refusal(source: str) -> ExpressionError:
    began = time.process_time()
    with pytest.raises(ExpressionError) as caught:
        evaluate_text(parse(source), CONTEXT, OUTSIDE, Budget())
    assert time.process_time() - began < MOST_SECONDS
    return caught.value


@pytest.mark.parametrize(("source", "words"), PARSED, ids=lambda text: text[:24])
def test_a_source_that_is_too_large_or_too_deep_is_refused_when_it_is_parsed(source: str, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(source)
    assert words in caught.value.message
    assert caught.value.reason is Reason.LIMIT


@pytest.mark.parametrize(("source", "words"), EVALUATED, ids=lambda text: text[:48])
def test_an_attack_ends_with_the_words_of_its_bound(source: str, words: str) -> None:
    error = refusal(source)
    assert words in error.message
    assert error.reason is not Reason.DEFECT


@pytest.mark.skipif(not IS_AVAILABLE, reason="google-re2 is not installed")
@pytest.mark.parametrize(("source", "words"), PATTERNS, ids=lambda text: text[:48])
def test_an_attack_with_a_regular_expression_ends(source: str, words: str) -> None:
    assert words in refusal(source).message


@pytest.mark.skipif(not IS_AVAILABLE, reason="google-re2 is not installed")
@pytest.mark.parametrize("pattern", ["(a+a+)+b", "(a|aa)+b", ".*.*b", "(a?){3}a{3}b"])
def test_a_regular_expression_does_not_backtrack(pattern: str) -> None:
    began = time.process_time()
    assert evaluate(parse(f"inputs.big matches '{pattern}'"), CONTEXT, OUTSIDE, Budget()) is False
    assert time.process_time() - began < MOST_SECONDS


@pytest.mark.parametrize(("source", "result"), CHEAP, ids=lambda text: str(text)[:24])
def test_large_but_harmless_expressions_are_evaluated(source: str, result: object) -> None:
    began = time.process_time()
    assert evaluate(parse(source), CONTEXT, OUTSIDE, Budget()) == result
    assert time.process_time() - began < MOST_SECONDS


def test_a_budget_is_shared_by_the_evaluations_of_a_batch() -> None:
    expression = parse("len(filter(1..4000, # % 2 == 0))")
    budget, evaluations = Budget(), 0
    with pytest.raises(ExpressionError) as caught:
        while True:
            assert evaluate(expression, {}, OUTSIDE, budget) == 2_000
            evaluations += 1
    assert "evaluated together take more than 1,000,000 steps" in caught.value.message
    steps = evaluate_steps("len(filter(1..4000, # % 2 == 0))") - evaluate_steps("1") + 1
    assert evaluations == BATCH_STEPS // steps > BATCH_STEPS // EVALUATION_STEPS
    assert budget.left == 0


def evaluate_steps(source: str) -> int:
    budget = Budget()
    evaluate_text(parse(f"type({source})"), CONTEXT, OUTSIDE, budget)
    return BATCH_STEPS - budget.left


#: What is copied, compared or searched without a step for each part counts by its length.
MEASURED = [
    ("take(item.list, 9999)", 1_250),
    ("reverse(item.list)", 1_250),
    ("item.list[1:]", 1_250),
    ("concat(item.list)", 1_250),
    ("sort(item.list)", 1_250 + 10_000),
    ("keys(item.map)", 1_250),
    ("values(item.map)", 1_250),
    ("toPairs(item.map)", 1_250 + 10_000),
    ("fromPairs(item.pairs)", 1_250),
    ("0..9999", 1_250),
    ("sequence(0, 10000)", 1_250),
    ("join(map(item.list, 'a'))", 10_000 + 1_250),
    ("1 in item.map", 1),
    ("upper(inputs.big)", 16_384),
    ("lower(inputs.big)", 16_384),
    ("trim(inputs.big)", 6_400),
    ("trimPrefix(inputs.big)", 16_384),
    ("trimSuffix(inputs.big)", 16_384),
    ("replace(inputs.big, 'b', 'a')", 2 * 16_384),
    ("replace(inputs.big, 'a', '')", 16_384),
    ("split(inputs.big, 'b')", 16_384),
    ("indexOf(inputs.big, 'b')", 16_384),
    ("lastIndexOf(inputs.big, 'b')", 2 * 16_384),
    ("hasPrefix(inputs.big, inputs.big)", 16_384),
    ("hasSuffix(inputs.big, inputs.big)", 16_384),
    ("sha256(inputs.big)", 16_384),
    ("repeat(inputs.big, 1)", 16_384),
    ("inputs.big + ''", 16_384),
    ("inputs.big[:]", 16_384),
    ("inputs.big == inputs.big", 16_384),
    ("inputs.big < inputs.big", 16_384),
    ("inputs.big contains 'b'", 16_384),
    ("uniq([inputs.big])", 16_384),
    ("toJSON(inputs.half)", 8_192),
    ("toBase64(inputs.half)", 8_192),
    ("fromBase64(inputs.base64)", 6_250),
    ("sum(item.list)", 10_000),
    ("trim('a', inputs.big)", 16_384),
    ("now()", 1),
    ("date('2024-01-01')", 100),
    ("timezone('UTC')", 100),
    ("now().Format('2006')", 100),
]


@pytest.mark.parametrize(("source", "least"), MEASURED, ids=lambda part: str(part)[:32])
def test_what_is_copied_or_searched_counts_by_its_length(source: str, least: int) -> None:
    assert least <= evaluate_steps(source) <= 3 * least + 20_000


@pytest.mark.skipif(not IS_AVAILABLE, reason="google-re2 is not installed")
def test_a_search_counts_by_the_text_and_the_program() -> None:
    short, long = (evaluate_steps(f"inputs.big matches '{pattern}'") for pattern in ("b", "[bc]{2}[de]{2}"))
    assert MIB // 256 < short < long
    assert evaluate_steps("'' matches '[^b]{900}'") > 100 + 7_000 // 2
    assert evaluate_steps("none(1..500, '' matches string(#))") > 500 * 100


def test_an_evaluation_that_failed_is_paid_for() -> None:
    budget = Budget()
    with pytest.raises(ExpressionError):
        evaluate(parse("all(1..10000, all(1..10000, true))"), {}, OUTSIDE, budget)
    assert budget.left == BATCH_STEPS - EVALUATION_STEPS


def test_the_bounds_are_those_that_were_promised() -> None:
    assert (bounds.SOURCE_BYTES, bounds.EXPRESSION_DEPTH) == (4_096, 60)
    assert (EVALUATION_STEPS, BATCH_STEPS) == (100_000, 1_000_000)
    assert (bounds.TEXT_BYTES, bounds.LIST_LENGTH) == (MIB, 10_000)
    assert (bounds.LEAST_INTEGER, bounds.GREATEST_INTEGER) == (-(2**63), 2**63 - 1)


def test_sixty_levels_are_parsed_and_evaluated() -> None:
    value = evaluate(parse("[" * 60 + "]" * 60), {}, OUTSIDE, Budget())
    assert str(value) == "[" * 60 + "]" * 60
    assert evaluate(parse("all([1]," * 58 + "true" + ")" * 58), {}, OUTSIDE, Budget()) is True
