"""Random expressions for hypothesis: any nonsense, and expressions that mostly make sense."""

from __future__ import annotations

import re
from functools import cache

from hypothesis import strategies as st

from engine.jobspec.expression.functions.known import FUNCTIONS, METHODS
from engine.jobspec.expression.parse import BINARY, PREDICATES

Sources = st.SearchStrategy[str]

names = st.sampled_from(["inputs", "tasks", "item", "job", "secrets", "private", "$env", "x", "missing"])
keys = st.sampled_from(["n", "name", "value", "size", "tags", "chunks", "not", "Year", "secret", "key"])
literals = st.one_of(
    st.sampled_from(["nil", "true", "false", "1", "0", "-1", "2.5", "1e300", "9223372036854775807", '"a,b"']),
    st.sampled_from(
        ['""', "'\\u00e9'", "`[1]`", "[]", "{}", '"1h30m"', '"2024-02-29"', '"(a|b)*"', '"desc"']
    ),
    st.integers(0, 2**64).map(str),
    st.floats(0, allow_nan=False, allow_infinity=False).map(repr),
)
methods = st.sampled_from(sorted({name for table in METHODS.values() for name in table}))
functions = st.sampled_from(sorted(set(FUNCTIONS) - set(PREDICATES)))


def _formed(form: str, *strategies: Sources) -> Sources:
    return st.tuples(*strategies).map(lambda pieces: form.format(*pieces))


def _larger(inner: Sources) -> Sources:
    arguments = st.lists(inner, max_size=3).map(", ".join)
    return st.one_of(
        _formed("({} {} {})", inner, st.sampled_from(sorted(set(BINARY) - {"|"})), inner),
        _formed("({} not in {})", inner, inner),
        _formed("{}({})", functions, arguments),
        _formed("({} | {}({}))", inner, functions, arguments),
        _formed("{}({}, {})", st.sampled_from(sorted(PREDICATES)), inner, inner),
        _formed("({} ? {} : {})", inner, inner, inner),
        _formed("(let x = {}; {})", inner, inner),
        _formed("(if {} {{ {} }} else {{ {} }})", inner, inner, inner),
        _formed("[{}]", arguments),
        _formed("{{a: {}, ({}): {}}}", inner, inner, inner),
        _formed("({}).{}", inner, keys),
        _formed("({})?.{}", inner, keys),
        _formed("({})[{}]", inner, inner),
        _formed("({})[{}:{}]", inner, inner, inner),
        _formed("({}).{}({})", inner, methods, arguments),
        _formed("{}({})", st.sampled_from(["-", "+", "not ", "!"]), inner),
    )


#: Expressions of any kinds in any order: most are refused.
nonsense = st.recursive(
    st.one_of(literals, names, st.tuples(names, keys).map(".".join), st.sampled_from(["#", "#index"])),
    _larger,
)
_WORDS = ["?.", "let x = ", "if ", " else ", "not ", "item", "inputs.n", " 1 ", "\n"]
_pieces = st.sampled_from([*BINARY, *FUNCTIONS, *"()[]{},.:;?#'\"`\\", *_WORDS])


def garbled(seeds: list[str]) -> Sources:
    """Return texts, rows of pieces, and the seeds with a place spoilt."""
    spoilt = st.tuples(st.sampled_from(seeds), st.integers(0, 80), st.text(max_size=3))
    return st.one_of(
        st.text(max_size=40),
        st.lists(_pieces, max_size=14).map("".join),
        spoilt.map(lambda drawn: drawn[0][: drawn[1]] + drawn[2] + drawn[0][drawn[1] + 1 :]),
    )


#: Kind, in the words of signatures -> expressions of that kind.
_LEAVES: dict[str, list[str]] = {
    "text": [
        "inputs.name",
        "tasks.chunks",
        "item.index",
        '"a,b, é"',
        '"(a|b)*"',
        '"2024-02-29"',
        '"[1, {}]"',
        '" 12"',
    ],
    "int": ["0", "-1", "7", "len(inputs.list)", "9223372036854775807", "item.value.size", "63"],
    "number": ["0.1", "2", "-1e300", "item.value.ratio", "1e-7"],
    "bool": ["true", "item.value.ok", "1 < 2"],
    "list": [
        "[]",
        "[1, 2.5, 3]",
        "item.value.tags",
        "1..20",
        "[nil, [1], {a: 1}]",
        "private",
        "[true, 1, 1.0]",
    ],
    "map": ["{}", "{a: 1, b: [2]}", "item", "item.value", "inputs", "groupBy([1, true, nil, 1.5], #)"],
    "date": [
        "now()",
        'date("2024-02-29T10:20:30+02:00")',
        'date("0001-01-01")',
        'date("9999-12-31 23:59:59")',
    ],
    "duration": ['duration("1h30m")', 'duration("-1ns")', 'duration("2562047h")'],
    "zone": ['timezone("Europe/Rome")', 'timezone("UTC")'],
    "nil": ["nil", "inputs.missing"],
}
#: Forms with a hole for each operand.
_OPERATIONS: dict[str, list[str]] = {
    "text": [
        "<text> + <text>",
        "<text>[<int>:]",
        "string(<any>)",
        "<bool> ? <text> : <text>",
        "<text>[:<int>]",
    ],
    "int": ["<int> + <int>", "<int> % <int>", "-<int>", "<int> * <int>", "len(<list>)", "<any> ?? <int>"],
    "number": ["<number> / <number>", "<number> ** <number>", "<number> - <int>", "sum(<list>)"],
    "bool": [
        *("<any> == <any>", "not <bool>", "<bool> or <bool>", "<any> in <list>", "<text> matches <text>"),
        *("<number> < <number> <= <int>", "<text> contains <text>", "<any> in <map>", "<date> < <date>"),
    ],
    "list": [
        *("[<any>, <any>]", "<list>[<int>:<int>]", "map(<list>, <predicate>)", "filter(<list>, <predicate>)"),
        *("sortBy(<list>, <predicate>, 'desc')", "<int>..<int>", "map(<list>, {let y = #; [y, <any>]})"),
    ],
    "map": ["{a: <any>, (<text>): <any>}", "groupBy(<list>, <predicate>)", "fromPairs([[<any>, <any>]])"],
    "date": ["<date> + <duration>", "<date> - <duration>"],
    "duration": ["<duration> + <duration>", "<date> - <date>", "<duration> * <number>", "-<duration>"],
    "zone": [],
    "nil": ["<map>.missing", "find([], # == 1)"],
}
_predicates = st.sampled_from(
    [
        *("#", "#index", "string(#)", "# == 1", "#index % 2 == 0", "[#, #]", "({a: #})"),
        *("type(#)", "#?.a", "# in [1]", "#acc"),
    ]
)


def _calls(word: str) -> list[str]:
    """Return a call, as a form, of each function and method that gives such a value."""
    subjects = {"time.Time": "<date>.", "time.Duration": "<duration>.", "time.Month": "<date>.Month()."}
    tables = {"": FUNCTIONS, **{subjects[kind]: table for kind, table in METHODS.items() if kind in subjects}}
    return [
        f"{before}{function.name}({', '.join(f'<{parameter.words}>' for parameter in function.parameters)})"
        for before, table in tables.items()
        for function in table.values()
        if function.name not in PREDICATES and word in function.signature.rpartition(" -> ")[2]
    ]


@cache
def _typed(word: str, depth: int) -> Sources:
    kinds = {"any": list(_LEAVES), "whole": ["int"]}.get(word, word.split("|"))
    if len(kinds) > 1 or word == "whole":
        return st.one_of(*(_typed(kind, depth) for kind in kinds))
    leaves = st.sampled_from(_LEAVES[word])
    forms = [*_OPERATIONS[word], *_calls(word)]
    if depth == 0 or not forms:
        return leaves
    return st.one_of(leaves, st.sampled_from(forms).flatmap(lambda form: _filled(form, depth - 1)))


def _filled(form: str, depth: int) -> Sources:
    """Return the form with an expression in parentheses in each hole."""
    pieces = re.split(r"<([\w|]+)>", form)
    holes = (_predicates if word == "predicate" else _typed(word, depth) for word in pieces[1::2])
    return st.tuples(*holes).map(
        lambda texts: (
            pieces[0] + "".join(f"({text}){after}" for text, after in zip(texts, pieces[2::2], strict=True))
        )
    )


#: Expressions whose parts are of the kinds that their operators and functions take.
likely = st.one_of(*(_typed(word, 3) for word in _LEAVES))
