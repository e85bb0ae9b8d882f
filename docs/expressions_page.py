"""Printer of docs/reference/expressions.rst, from the table of functions: `python docs/expressions_page.py > …`.

A test compares the page with what this prints, so the page cannot become stale; the examples are evaluated here.
"""

from __future__ import annotations

from engine.jobspec.expression import bounds
from engine.jobspec.expression.bounds import Budget
from engine.jobspec.expression.evaluate import evaluate
from engine.jobspec.expression.functions.known import FUNCTIONS, METHODS
from engine.jobspec.expression.functions.table import Function
from engine.jobspec.expression.parse import parse
from engine.jobspec.expression.printing import as_json, printed
from engine.jobspec.expression.tools import Outside
from engine.jobspec.expression.values import kind_of
from engine.jobspec.template import MOST_EXPRESSIONS

#: Name of the rule -> what differs from Tork, and why. The test of Tork's answers knows each rule by its name.
DIFFERENCES: dict[str, tuple[str, str]] = {
    "absent": (
        "A name that ``inputs``, ``tasks``, ``job`` or ``secrets`` does not have is nil, not an empty text, and "
        "prints nothing. At submission an input that is not declared, or a result that no task can set, is "
        'refused unless the expression asks first: ``inputs.x ?? 1``, ``"x" in inputs``, ``inputs.x == nil``.',
        "``??`` and ``?.`` work, and a misspelt name is found before anything runs.",
    ),
    "json-integers": (
        'Whole numbers of JSON are integers: ``fromJSON("3")`` is 3, and ``%``, ``sequence`` and indexes take it. '
        "Without an exponent beyond 64 bits they are floats.",
        "In Tork every number of JSON is a float, and a million prints ``1e+06``.",
    ),
    "printing": (
        "nil prints nothing; lists and maps print as JSON, keys in order; a float prints without an exponent up "
        "to 1e15. ``string()`` prints the same.",
        '``["a", 1]`` can be read by a program, ``[a 1]`` and ``map[a:1]`` cannot.',
    ),
    "division-by-zero": (
        "Dividing by zero is an error.",
        "An infinite number would end in a command line.",
    ),
    "64-bit": (
        "An integer beyond 64 bits is an error, where Tork's wraps around.",
        "A wrong number is worse than none.",
    ),
    "characters": (
        "Slices and ``indexOf`` count characters, as ``len`` does, and a text is never cut inside a character; "
        "``fromBase64`` of bytes that are no UTF-8 is an error.",
        "Tork counts bytes there.",
    ),
    "segments": (
        "An expression ends at the ``}}`` that closes it, so texts, maps and line ends in it are what they look "
        "like. The list of an ``each`` is one expression; text around it is refused. An empty ``{{}}`` is an "
        "error.",
        "Tork ends at the first ``}}``, leaves an expression over several lines as it is, and drops the text "
        "around a list.",
    ),
    "equality": (
        "Equality is by value at every depth: ``{a: 1} == {a: 1.0}``, and an integer is not rounded to be "
        "compared.",
        "It is one rule for numbers, lists and maps.",
    ),
    "bounds": (
        "The bounds are those below.",
        "They keep a single expression from holding up everybody else's jobs.",
    ),
    "environment": (
        "``$env`` has the names of the context, not the functions.",
        "A function is not a value that can be stored.",
    ),
    "hidden-function": (
        "A name of the context that is called as a function with a predicate is named in the error, as for any "
        "other function.",
        "Tork's parser stops at the ``#`` instead.",
    ),
    "accidents": (
        "Some answers of Tork are accidents of Go, such as ``let true = 1``, the first of two equal keys, "
        "``0x1p-2`` in a text or a function's name without parentheses, which is nil. Here they are errors.",
        "Nobody means them.",
    ),
    "class-of-error": (
        "An argument of a wrong kind is named as such, also where Tork speaks of the number of arguments or of a "
        "conversion.",
        "The message helps more. It is an error in both.",
    ),
}

HEAD = f"""\
Expressions
===========

Text in ``{{{{ }}}}`` is an expression. Ferryman reads the expressions of Tork, which are those of expr-lang.
Jobs of several tasks will use them; today a task with ``{{{{`` is refused. The checks and the language
described here are complete.

In one minute
-------------

::

    echo {{{{ inputs.name }}}}                              a value in a text
    {{{{ inputs.size ?? 720 }}}}                            a default
    {{{{ int(inputs.n) > 5 and job.name != "test" }}}}      for if
    {{{{ fromJSON(tasks.chunks) }}}}                        the list of an each
    {{{{ item.value.file | trimSuffix(".mov") | lower() }}}} functions in a row
    {{{{ map(fromJSON(tasks.files), # + ".bak") | join(" ") }}}}
    {{{{ let n = len(item.value); n > 1 ? "many" : "few" }}}}
    {{{{ "{{{{" }}}}                                          two braces

* A text that is one expression and nothing else keeps its type where that matters (the list of an ``each``,
  ``if``, inputs of a subjob); elsewhere the value is printed.
* ``inputs`` are texts unless they are declared with a type, ``tasks.NAME`` is the text of a result:
  ``int(inputs.n) + 1``.
* A predicate is evaluated for each element: ``#`` is the element, ``.name`` its field, ``#index`` its place,
  ``#acc`` the result so far of ``reduce``.
* Errors name the expression, the column, what was expected and what kind of value was found, never a value.

Syntax
------

.. list-table::
   :widths: 30 70

   * - literals
     - ``1  0x1F  1_000  .5  1e3  "a"  'a'  `raw`  true  false  nil  [1, 2]  {{a: 1, "b c": 2, (key): 3}}``
   * - escapes in texts
     - ``\\n \\t \\r \\a \\b \\f \\v \\\\ \\xHH \\ooo \\uHHHH \\u{{H…}} \\UHHHHHHHH`` and the text's own
       quote; none in backticks
   * - access
     - ``a.b  a["b"]  a?.b`` (nil stays nil) ``list[0]  list[-1]  list[1:3]  text[:5]  $env``
   * - operators, the weakest first
     - ``|`` (pipe); ``or ||``; ``and &&``; ``== != < > <= >= in matches contains startsWith endsWith``, and
       ``not`` before the last five; ``..``; ``+ -``; ``not !``; ``* / %``; ``- +`` before a number; ``** ^``;
       ``??``
   * - conditions
     - ``test ? a : b``, ``a ?: b``, ``if test {{ a }} else {{ b }}``
   * - statements
     - ``let x = 1; x + 1``
   * - comments
     - ``// to the end of the line``, ``/* between */``

``/`` and ``**`` give floats, ``%`` takes integers. Only a bool is a condition. ``in`` looks in lists and in
the keys of maps, ``contains`` in texts. Nothing but ``|`` and ``?`` may follow ``??`` without parentheses.

Regular expressions are those of RE2, which never backtracks, by the library google-re2. Its wheels are for
Linux on x86_64 and arm64; where it is not installed, ``matches`` is refused in words.

Bounds
------

.. list-table::
   :header-rows: 1
   :widths: 50 50

   * - of
     - at most
   * - an expression's text
     - {bounds.SOURCE_BYTES:,} bytes, {bounds.EXPRESSION_DEPTH} levels
   * - expressions in one text
     - {MOST_EXPRESSIONS:,}
   * - one evaluation
     - {bounds.EVALUATION_STEPS:,} steps; what is copied, compared or searched counts by its length
   * - the evaluations of one opening or batch together
     - {bounds.BATCH_STEPS:,} steps
   * - a text
     - {bounds.TEXT_BYTES:,} bytes
   * - a list or map
     - {bounds.LIST_LENGTH:,} elements, {bounds.VALUE_DEPTH} levels
   * - an integer
     - 64 bits
   * - a regular expression
     - {bounds.PATTERN_BYTES:,} bytes, {bounds.PATTERN_MEMORY_BYTES:,} bytes of memory
"""

FUNCTIONS_HEAD = """
Functions
---------

In a signature ``?`` marks what may be left out, ``*`` any number of arguments. ``int`` is an integer;
``whole`` is one too, and takes a float that is whole. ``number`` is either. The right column is an example
with its result.
"""

TABLE = """
.. list-table::
   :header-rows: 1
   :widths: 34 36 30

   * - signature
     - meaning
     - example
"""

DIFFERENCES_HEAD = """
Differences from Tork
---------------------

``tests/unit/jobspec/expression/test_cases.py`` compares 1,797 expressions with the answers of Tork 0.1.153.
What falls under no rule has the same answer in both, or is an error in both.

.. list-table::
   :header-rows: 1
   :widths: 16 48 36

   * - rule
     - here
     - why
"""


def page() -> str:
    """Return the whole page."""
    groups = dict[str, list[Function]]()
    for function in [
        *FUNCTIONS.values(),
        *(method for table in _method_tables() for method in table.values()),
    ]:
        groups.setdefault(function.group, []).append(function)
    tables = "".join(
        f"\n{title}\n{'~' * len(title)}\n{TABLE}{''.join(map(_row, functions))}"
        for title, functions in groups.items()
    )
    differences = "".join(
        f"   * - {name}\n     - {here}\n     - {reason}\n" for name, (here, reason) in DIFFERENCES.items()
    )
    return HEAD + FUNCTIONS_HEAD + tables + DIFFERENCES_HEAD + differences


def _method_tables() -> list[dict[str, Function]]:
    return [METHODS["time.Time"], METHODS["time.Duration"], METHODS["time.Month"]]


def _row(function: Function) -> str:
    example = f"``{function.example}`` is {_result(function)}"
    return f"   * - ``{function.signature}``\n     - {function.summary}\n     - {example}\n"


def _result(function: Function) -> str:
    outside = Outside(1_750_000_000_000, lambda below: 0)
    value = evaluate(parse(function.example), {}, outside, Budget())
    text = (
        as_json(value, bounds.Meter(Budget()))
        if isinstance(value, str)
        else printed(value, bounds.Meter(Budget()))
    )
    shown = f"``{text}``"
    return shown if kind_of(value) != "nil" else "nil"


if __name__ == "__main__":
    print(page(), end="")
