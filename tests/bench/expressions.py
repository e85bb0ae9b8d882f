"""Evaluation of expressions, beside Jinja's sandbox, which compiles them and counts no steps."""

from __future__ import annotations

import time
from collections.abc import Callable

from jinja2.sandbox import SandboxedEnvironment

from engine.jobspec import template
from engine.jobspec.expression.bounds import Budget
from engine.jobspec.expression.parse import parse
from engine.jobspec.expression.tools import Outside
from tests.bench.figures import OURS, Row, take_turns
from tests.bench.ground import Ground

#: The file name of a part, as each item of a loop asks for it.
_TEXT = (
    '{{ inputs.name + "-" + string(int(item.index) + 1) + (item.value.size > 100 ? ".large" : ".small") }}'
)
_JINJA = """inputs.name ~ "-" ~ (item.index | int + 1) ~ (".large" if item.value.size > 100 else ".small")"""
_CONTEXT = {"inputs": {"name": "clip"}, "item": {"index": "6", "value": {"size": 300, "tags": ["x", "y"]}}}
_RESULT = "clip-7.large"
_TIMES = 2_000


def expr(ground: Ground) -> Row:
    """Measure the text of one item, from its stored segments."""
    row = Row(
        "expr",
        "a text of one item with four operators and two calls, parsed before",
        "µs",
        "Jinja's sandbox",
        20.0,
    )
    read = template.parse(_TEXT)
    outside = Outside(1_750_000_000_000, lambda below: 0)
    compiled = SandboxedEnvironment().compile_expression(_JINJA)

    def ours() -> object:
        return template.evaluate(read, _CONTEXT, outside, Budget())

    parsing = _microseconds(lambda: parse(_TEXT[3:-3]))
    row.notes.append(f"parsing it, once at submission: {parsing:.0f} µs")
    assert ours() == compiled(**_CONTEXT) == _RESULT
    ways = {
        OURS: lambda: _microseconds(ours),
        row.anchor: lambda: _microseconds(lambda: compiled(**_CONTEXT)),
    }
    return take_turns(row, ways, ground.n)


def _microseconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(_TIMES):
        run()
    return (time.perf_counter() - began) / _TIMES * 1e6
