"""Templates: texts with expressions in `{{ }}`.

A text is parsed once, at submission, into segments that are stored; nothing that an evaluation yields is ever parsed.
Expressions that mention secrets become late: they are stored with the values of all else that they mention, and become
text only in memory, when a worker asks for its assignment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from engine.jobspec.expression import evaluate as expressions
from engine.jobspec.expression.bounds import EVALUATION_STEPS, TEXT_BYTES, Budget, Meter
from engine.jobspec.expression.check import Scope
from engine.jobspec.expression.check import check as check_expression
from engine.jobspec.expression.errors import ExpressionError, Reason
from engine.jobspec.expression.kinds import Type
from engine.jobspec.expression.mentions import CHANGING, Mentions
from engine.jobspec.expression.nodes import WHOLE_CONTEXT
from engine.jobspec.expression.parse import Expression
from engine.jobspec.expression.parse import parse as parse_expression
from engine.jobspec.expression.printing import printed
from engine.jobspec.expression.tokens import tokens
from engine.jobspec.expression.tools import Outside
from engine.jobspec.expression.values import Value, words_for

SECRETS = "secrets"
#: Expressions in one text.
MOST_EXPRESSIONS = 1_000
#: A stored template: a text, or the segments of one.
Stored = Any


@dataclass(frozen=True, slots=True)
class Template:
    """Text between expressions, and the expressions, in order. `offsets` are the places of the expressions."""

    segments: tuple[str | Expression, ...]
    offsets: tuple[int, ...] = field(default=(), compare=False)

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Return the expressions."""
        return tuple(segment for segment in self.segments if isinstance(segment, Expression))

    @property
    def single(self) -> Expression | None:
        """Return the expression of a template that is nothing else, so it keeps its type."""
        only = self.segments[0] if len(self.segments) == 1 else None
        return only if isinstance(only, Expression) else None


@dataclass(frozen=True, slots=True)
class LateExpression:
    """Expression that mentions secrets, with the values of all else that it mentions."""

    expression: Expression
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Late:
    """Text that is complete only with secrets."""

    segments: tuple[str | LateExpression, ...]


def parse(text: str) -> Template:
    """Parse a text. Raises ExpressionError, with its offset in the text."""
    segments, offsets, end = list[str | Expression](), list[int](), 0
    while (start := text.find("{{", end)) >= 0 and text.find("}}", start) >= 0:
        if start > end:
            segments.append(text[end:start])
        close = _closing(text, start + 2)
        inner = text[start + 2 : close]
        offset = start + 2 + len(inner) - len(inner.lstrip())
        segments.append(_parsed(inner.strip(), offset))
        offsets.append(offset)
        end = close + 2
        if len(offsets) > MOST_EXPRESSIONS:
            raise ExpressionError(
                Reason.LIMIT, f"a text may have {MOST_EXPRESSIONS:,} expressions, this one has more"
            )
    if end < len(text) or not segments:
        segments.append(text[end:])
    return Template(tuple(segments), tuple(offsets))


def parse_list(text: str) -> Template:
    """Parse the list of an `each`: an expression, in `{{ }}` or bare. Raises ExpressionError."""
    bare = text.strip()
    if not bare.startswith("{{"):
        return Template((_parsed(bare, text.find(bare)),), (text.find(bare),))
    template = parse(bare)
    if template.single is None:
        message = (
            "expected one expression and nothing around it, found more; write `{{ … }}` around all of it"
        )
        raise ExpressionError(Reason.SYNTAX, message, 0, bare)
    return template


def _parsed(source: str, offset: int) -> Expression:
    try:
        return parse_expression(source)
    except ExpressionError as exc:
        exc.offset = offset
        raise


def _closing(text: str, start: int) -> int:
    """Return the place of the `}}` that ends the expression: braces in it and texts with braces do not."""
    depth = 0
    try:
        for token in tokens(text, start):
            if token.kind != "bracket":
                continue
            if token.text == "}" and depth == 0 and text.startswith("}}", token.at):
                return token.at
            depth += {"{": 1, "}": -1}.get(token.text, 0)
    except ExpressionError as exc:
        exc.at, exc.offset, exc.source = (exc.at or start) - start, start, text[start:]
        raise
    message = "expected `}}` at the end of the expression, found the end"
    unclosed = ExpressionError(Reason.SYNTAX, message, 0, text[start:])
    unclosed.offset = start
    raise unclosed


def stored(template: Template | Late) -> Stored:
    """Return the form in which a template is stored as JSON: a text stays one."""
    if isinstance(template, Late):
        return {
            "late": [
                part if isinstance(part, str) else {"e": part.expression.source, "with": dict(part.values)}
                for part in template.segments
            ]
        }
    if not template.expressions:
        return "".join(part for part in template.segments if isinstance(part, str))
    return {"t": [part if isinstance(part, str) else {"e": part.source} for part in template.segments]}


def restored(form: Stored) -> Template | Late:
    """Return the template of a stored form."""
    if isinstance(form, str):
        return Template((form,))
    if "late" in form:
        return Late(
            tuple(
                part if isinstance(part, str) else LateExpression(parse_expression(part["e"]), part["with"])
                for part in form["late"]
            )
        )
    parts = tuple(part if isinstance(part, str) else parse_expression(part["e"]) for part in form["t"])
    return Template(parts, (0,) * sum(isinstance(part, Expression) for part in parts))


def names(template: Template) -> Mentions:
    """Return the names that must be loaded before the template can be evaluated."""
    return reduce(Mentions.__or__, (expression.mentions for expression in template.expressions), Mentions())


def check(
    template: Template, scope: Scope, may_have_secrets: bool = False, budget: Budget | None = None
) -> list[ExpressionError]:
    """Return the problems that can be told before anything runs.

    What needs no context is evaluated while the budget, one for a whole file, has steps for it.
    """
    budget = budget or Budget()
    problems = list[ExpressionError]()
    for expression, offset in zip(template.expressions, template.offsets, strict=True):
        faults = check_expression(expression, scope)[0]
        faults = (
            faults or _secret_faults(expression, may_have_secrets) or _constant_faults(expression, budget)
        )
        for fault in faults:
            fault.offset = offset
        problems += faults
    return problems


def result_type(template: Template, scope: Scope) -> Type:
    """Return the type of a template's value."""
    only = template.single
    return check_expression(only, scope)[1] if only is not None else Type(frozenset({"string"}))


def _secret_faults(expression: Expression, may_have_secrets: bool) -> list[ExpressionError]:
    mentioned = expression.mentions
    if not mentioned.have(SECRETS):
        return []
    at, source = expression.tree.at, expression.source
    if not may_have_secrets:
        message = (
            "expected no secrets here, where they would be stored or shown; use them in env, files or cmd"
        )
        return [ExpressionError(Reason.VALUE, message, at, source)]
    if mentioned.whole & {WHOLE_CONTEXT, "tasks"}:
        message = "expected only `tasks.NAME` beside secrets, found all tasks"
        return [ExpressionError(Reason.VALUE, message, at, source)]
    if changing := sorted(mentioned.calls & CHANGING):
        message = f"expected no {changing[0]}() beside secrets: each attempt would have another value"
        return [ExpressionError(Reason.VALUE, message, at, source)]
    return []


def _constant_faults(expression: Expression, budget: Budget) -> list[ExpressionError]:
    if not expression.mentions.is_constant or budget.left < EVALUATION_STEPS:
        return []
    try:
        expressions.evaluate(expression, {}, Outside(0, lambda below: 0), budget)
    except ExpressionError as exc:
        return [exc]
    return []


def evaluate(
    template: Template, context: Mapping[str, Value], outside: Outside, budget: Budget
) -> str | Late:
    """Return the text, or what is late where secrets are mentioned. Raises ExpressionError, and nothing else."""
    segments: list[str | LateExpression] = []
    for segment in template.segments:
        if isinstance(segment, str):
            segments.append(segment)
            continue
        if segment.mentions.have(SECRETS):
            values = {
                name: value for name, value in segment.mentions.part_of(context).items() if name != SECRETS
            }
            segments.append(LateExpression(segment, values))
        else:
            segments.append(expressions.evaluate_text(segment, context, outside, budget))
    texts = [segment for segment in segments if isinstance(segment, str)]
    return Late(tuple(segments)) if len(texts) < len(segments) else _joined(texts)


def reveal(late: Late, secrets: Mapping[str, str], outside: Outside, budget: Budget) -> str:
    """Return the text with its secrets, for memory only. Raises ExpressionError, and nothing else."""
    return _joined(
        [
            segment
            if isinstance(segment, str)
            else expressions.evaluate_text(
                segment.expression, {**segment.values, SECRETS: secrets}, outside, budget
            )
            for segment in late.segments
        ]
    )


def _joined(texts: list[str]) -> str:
    if (size := sum(len(text.encode()) for text in texts)) > TEXT_BYTES:
        raise ExpressionError(Reason.LIMIT, f"a text may have {TEXT_BYTES:,} bytes, this one has {size:,}")
    return "".join(texts)


def value(template: Template, context: Mapping[str, Value], outside: Outside, budget: Budget) -> Value:
    """Return the value, which keeps its type where the template is one expression and nothing else.

    For fields that may not mention secrets. Raises ExpressionError, and nothing else.
    """
    if template.single is not None:
        return expressions.evaluate(template.single, context, outside, budget)
    return evaluate(template, context, outside, budget)


def holds(template: Template, context: Mapping[str, Value], outside: Outside, budget: Budget) -> bool:
    """Return whether an `if` lets the task run: every text but `false` does.

    Raises ExpressionError, and nothing else.
    """
    result = value(template, context, outside, budget)
    if isinstance(result, list | dict):
        message = f"expected a bool or a text for if, found {words_for(result)}"
        raise ExpressionError(Reason.TYPE, message, 0, template.expressions[0].source)
    return printed(result, Meter(budget)).strip() != "false"
