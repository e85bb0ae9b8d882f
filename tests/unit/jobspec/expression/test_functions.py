"""Functions at their edges: texts, numbers, conversions, JSON, dates, layouts."""

from __future__ import annotations

from typing import Any

import pytest

from engine.jobspec.expression.bounds import Budget
from engine.jobspec.expression.errors import ExpressionError
from engine.jobspec.expression.evaluate import evaluate, evaluate_text
from engine.jobspec.expression.parse import parse
from engine.jobspec.expression.tools import Outside

OUTSIDE = Outside(1_750_000_000_123, lambda below: below - 1)
CONTEXT: dict[str, Any] = {
    "inputs": {
        "half": '["\\ud83d", {"\\udc00k": "a\\ud83d\\ude00"}]',
        "plain": '["a\\u00e9", 1]',
        "large": "[12345678901234567890, 1e400]",
        "infinite": "1e400",
    }
}


def value(source: str) -> Any:
    return evaluate(parse(source), CONTEXT, OUTSIDE, Budget())


def text(source: str) -> str:
    return evaluate_text(parse(source), CONTEXT, OUTSIDE, Budget())


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ('upper("straße ŉ ᾀ ﬁ")', "STRAßE ŉ ᾈ ﬁ"),
        ('lower("ΑΣ İI")', "ας ii".replace("ς", "σ")),
        ('trim("\\u00a0\\u3000a\\u2028")', "a"),
        ('trim("\\x1fa")', "\x1fa"),
        ('lastIndexOf("héllo l", "l")', 6),
        ('lastIndexOf("abc", "x")', -1),
        ('indexOf("héllo", "l")', 2),
        ('"héllo"[1:-1]', "éll"),
        ('split("abc", "", 2)', ["a", "bc"]),
        ('split("abc", "", 0)', []),
        ('split("abc", "", -5)', ["a", "b", "c"]),
        ('splitAfter("a--b", "--")', ["a--", "b"]),
        ('replace("aaa", "a", "b", 2)', "bba"),
        ('sha256("é")', "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"),
        ("round(-2.5)", -3.0),
        ("round(0.49999999999999994)", 0.0),
        ("ceil(float('inf'))", float("inf")),
        ("median([1, [2, [3]]], 4)", 2.5),
        ("bitushr(-1, 63)", 1),
        ("bitnot(0)", -1),
        ("sort([2.5, 1])", [1, 2.5]),
        ("sort(['b', 'a'], 'desc')", ["b", "a"]),
        (
            "uniq([1, true, 1.0, '1', nil, nil, [1], [1.0], {a: 1}, {a: 1.0}])",
            [1, True, "1", None, [1], {"a": 1}],
        ),
        ("groupBy([1, true, 1], #)[true]", [True]),
        ("groupBy([1, true, 1], #)[1]", [1, 1]),
        ("groupBy([1, 2], # > 1)[false]", [1]),
        ("groupBy([1], #)['x']", None),
        ("groupBy([1], #)[2.5]", None),
        ("keys(groupBy([true, nil], #))", [True, None]),
        ("get([1, 2], 5)", None),
        ("get([1, 2], 1.0)", 2),
        ("get({}, 1)", None),
        ("[1, 2] | take(1.0)", [1]),
        ("type(now().Month())", "time.Month"),
        ("now().Month() == 6", True),
        ("now().Weekday() in [0, 6]", True),
        ("int(now().Month()) + 1", 7),
        ("type(timezone('UTC'))", "time.Location"),
        ("reduce([1, 2, 3], #acc + #index, 0)", 3),
        ("reduce([[1, 2]], #acc)", [1, 2]),
        ("sum([1.5, 2])", 3.5),
        ("(1 == 1) ?: 2", True),
        ("let a = 1; let b = a + 1; [a, b]", [1, 2]),
        ("(let a = 1; a) + (let a = 2; a)", 3),
        ("::len([1])", 1),
        ("1 < 2 < 2", False),
        ("'b' > 'a'", True),
        ("{(1 > 0 ? 'a' : 'b'): 1}", {"a": 1}),
        ("[1, 2, 3] | map(# + 1) | filter(# > 2) | len()", 2),
        ("{a: nil}.a?.b.c[1:2]", None),
        ("{a: {b: 1}}?.a?.b", 1),
        ("[[1, 2]]?.[0]?.[1]", 2),
    ],
)
def test_a_function_or_operator_at_an_edge(source: str, result: object) -> None:
    found = value(source)
    assert found == result and type(found) is type(result)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("fromJSON(inputs.half)", ["\ufffd", {"\ufffdk": "a😀"}]),
        ("fromJSON(inputs.plain)", ["aé", 1]),
        ("fromJSON('12345678901234567890')", 1.2345678901234567e19),
        ("fromJSON('9223372036854775807')", 9223372036854775807),
        ("fromJSON('-0')", 0),
        ("fromJSON('1.0')", 1.0),
        ("fromJSON('{\"a\": {}}')", {"a": {}}),
    ],
)
def test_json_is_read(source: str, result: object) -> None:
    assert value(source) == result
    assert text(source).encode()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("fromJSON(inputs.infinite)", "numbers that a float can hold"),
        ("fromJSON(inputs.large)", "numbers that a float can hold"),
        ("fromJSON('Infinity')", "NaN or Infinity"),
        ("fromJSON('')", "from character 1 on"),
        ("fromJSON('[1,]')", "from character"),
        ("toJSON(float('inf'))", "an infinite one"),
        ("string([float('nan')])", "an infinite one or none"),
        ("toJSON(len)", "found a function"),
        ("string(len)", "found a function"),
        ("toJSON(groupBy([1], #))", "a map with texts as keys"),
        ("fromBase64('aGVsbG8')", "with its padding"),
        ("fromBase64('/+8=')", "a text in UTF-8"),
        ("int(float('nan'))", "an infinite one or none"),
        ("float('1e400')", "a text that is a number"),
        ("float('0x10')", "a text that is a number"),
        ("abs(-9223372036854775807 - 1)", "beyond 64 bits"),
        ("-(-9223372036854775807 - 1)", "beyond 64 bits"),
        ("(-8) ** 0.5", "a real number"),
        ("0 ** -1", "a real number"),
        ("get([1], 'a')", "an integer as the place"),
        ("get([1], 0.5)", "an integer as the place"),
        ("get({}, [])", "as key"),
        ("{a: 1}[1]", "a text as the key of a map"),
        ("{}[1]", "a text as the key of a map"),
        ("{}.f()", "expected a function at `f`, found nil"),
        ("take([1], -1)", "a count of 0 or more"),
        ("sort([1], 'up')", '"asc" or "desc"'),
        ("sort([[1]])", "only numbers"),
        ("reduce([], #acc)", "a list that is not empty"),
        ("sum(['a'])", "numbers for sum()"),
        ("count([1])", "a bool as the answer"),
        ("fromPairs([1])", "a list of [key, value]"),
        ("fromPairs([[[], 1]])", "as key"),
        ("[missing]", "unknown name"),
        ("missing()", "unknown function"),
        ("inputs()", "a function, found a map"),
        ("let f = 1; f()", "the name `f` is taken"),
        ("map([1], #x)", "#, #index or #acc"),
        ("'a' in 'b'", "for texts use contains"),
        ("timezone('Nowhere')", "a time zone such as"),
        ("date('2024-01-01', '2006-01-02', 'Nowhere')", "a time zone such as"),
    ],
)
def test_a_function_or_operator_refuses(source: str, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(source)
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ("1e-5", "1e-05"),
        ("0.0001", "0.0001"),
        ("1e15", "1000000000000000"),
        ("1e15 + 0.5", "1.0000000000000005e+15"),
        ("1234567890123456.0 * 10", "1.234567890123456e+16"),
        ("-2.5e20", "-2.5e+20"),
        ("-0.0", "-0"),
        ("float('-inf')", "-Inf"),
        ("toJSON(0.00001)", "0.00001"),
        ("toJSON(1.5e-9)", "1.5e-9"),
        ("toJSON(1e21)", "1e+21"),
        ("toJSON(123456789012345680000.0)", "123456789012345680000"),
        ("toJSON({b: [], a: {}})", '{\n  "a": {},\n  "b": []\n}'),
        ("toJSON('<é>\\u2028')", '"\\u003cé\\u003e\\u2028"'),
        ("toJSON(now())", '"2025-06-15T15:06:40.123Z"'),
        ("toJSON(now().Month())", "6"),
        ("toJSON(timezone('UTC'))", "{}"),
        ("[timezone('UTC')]", "[{}]"),
        ("[now().Weekday(), true, false, nil]", "[0, true, false, null]"),
        ("groupBy([1, 2.5, true, nil, 'x'], #)", '{"1": [1], "2.5": [2.5], "nil": [null], "true": [true], "x": ["x"]}'),
        ("now()", "2025-06-15 15:06:40.123 +0000 UTC"),
        ("now().Month()", "June"),
        ("now().Weekday()", "Sunday"),
        ("timezone('Europe/Rome')", "Europe/Rome"),
    ],
)  # fmt: skip
def test_a_value_is_printed(source: str, printed: str) -> None:
    assert text(source) == printed


@pytest.mark.parametrize(
    ("source", "printed"),
    [
        ('duration("1.5s")', "1.5s"),
        ('duration("0")', "0s"),
        ('duration("+90m")', "1h30m0s"),
        ('duration("1h1.000000001s")', "1h0m1.000000001s"),
        ('duration("100us")', "100µs"),
        ('duration("7ns")', "7ns"),
        ('duration("-1.5ms")', "-1.5ms"),
        ('duration(".5h")', "30m0s"),
        ('2 * duration("1h")', "2h0m0s"),
        ('duration("1h") * 0.5', "30m0s"),
        ('-duration("1h")', "-1h0m0s"),
        ('duration("1h") + date("2024-02-29")', "2024-02-29 01:00:00 +0000 UTC"),
        ('date("2024-02-29") + duration("1ms")', "2024-02-29 00:00:00.001 +0000 UTC"),
        ('date("2024-02-29T23:59:59.5Z")', "2024-02-29 23:59:59.5 +0000 UTC"),
        ('date("2024-02-29T10:20:30-05:30")', "2024-02-29 10:20:30 -0530 -0530"),
        ('date("10:20:30").Format("15:04:05")', "10:20:30"),
        ('date("29 Feb 24 10:20 UTC")', "2024-02-29 10:20:00 +0000 UTC"),
        ('date("Thursday, 29-Feb-24 10:20:30 UTC")', "2024-02-29 10:20:30 +0000 UTC"),
        ('date("Thu, 29 Feb 2024 10:20:30 GMT")', "2024-02-29 10:20:30 +0000 UTC"),
        ('date("3:04PM", "3:04PM").Hour()', "15"),
        ('date("12:04am", "03:04pm").Hour()', "0"),
        ('date("February 9, 1969", "January 2, 2006")', "1969-02-09 00:00:00 +0000 UTC"),
        ('date("69-060", "06-002")', "1969-03-01 00:00:00 +0000 UTC"),
        ('date("2024 60", "2006__2")', "2024-02-29 00:00:00 +0000 UTC"),
        ('date("2024-02- 9", "2006-01-_2").Day()', "9"),
        ('date("1.2.24", "2.1.06")', "2024-02-01 00:00:00 +0000 UTC"),
        ('date("10.250", "05.000").Nanosecond()', "250000000"),
        ('date("2024-02-29 -0700", "2006-01-02 -0700").UTC().Hour()', "7"),
        ('date("2024-02-29 +02", "2006-01-02 -07").UTC().Day()', "28"),
        ('date("2024-02-29Z", "2006-01-02Z0700")', "2024-02-29 00:00:00 +0000 UTC"),
        ('date("2024-07-01 12:00", "2006-01-02 15:04", "Europe/Rome")', "2024-07-01 12:00:00 +0200 CEST"),
        ('date("2024-07-01").In(timezone("America/New_York"))', "2024-06-30 20:00:00 -0400 EDT"),
        ('date("2024-01-31").AddDate(0, 1, 0)', "2024-03-02 00:00:00 +0000 UTC"),
        ('date("2024-01-31").AddDate(-1, -1, -1)', "2022-12-30 00:00:00 +0000 UTC"),
        ('date("2024-03-01").Sub(date("2024-02-29")).Hours()', "24"),
        ('date("2024-02-09T03:04:05Z").Format("Mon Monday Jan January 1 01 2 _2 02 002 __2 06 2006")',
         "Fri Friday Feb February 2 02 9  9 09 040  40 24 2024"),
        ('date("2024-02-09T15:04:05.678Z").Format("3 03 15 4 04 5 05 PM pm .000 .999999 .9 MST")',
         "3 03 15 4 04 5 05 PM pm .678 .678 .6 UTC"),
        ('date("2024-02-09T03:04:05Z").Format("AM PM pm .999 Z07:00 -07:00 Z0700 -07")', "AM AM am  Z +00:00 Z +00"),
        ('date("2024-02-09T03:04:05+02:00").Format("Z07:00 -0700 -07 Z0700")', "+02:00 +0200 +02 +0200"),
    ],
)  # fmt: skip
def test_dates_and_durations(source: str, printed: str) -> None:
    assert text(source) == printed


@pytest.mark.parametrize(
    "source",
    [
        'date("2024-02-30")', 'date("2024-13-01")', 'date("2024-02-29x")', 'date("x", "2006")', 'date("24:00:00")',
        'date("2024-02-29T10:20:30+25:00")', 'date("2024 400", "2006 002")', 'date("May", "January 2")', 'date("")',
        'duration("1")', 'duration("h")', 'duration("1h ")', 'duration("")', 'duration("-")', 'duration(".s")',
        'duration("9999999999h")', 'date("9999-12-31") + duration("48h")', 'date("0001-01-01").AddDate(0, -1, 0)',
        'date("0001-01-01").In(timezone("America/New_York"))', 'date("9999-12-31").UnixNano()',
    ],
)  # fmt: skip
def test_what_is_no_date_and_no_duration(source: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        value(source)
    assert "defect" not in caught.value.message
