"""Table of the functions: signature, sentence, example, code."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from engine.jobspec.expression import kinds
from engine.jobspec.expression.errors import Reason, fail
from engine.jobspec.expression.kinds import SIGNATURE_WORDS, Type
from engine.jobspec.expression.operators import integer
from engine.jobspec.expression.tools import Tools
from engine.jobspec.expression.values import Value, kind_of, words_for

_SIGNATURE = re.compile(r"(\w+)\((.*)\) -> (.+)")
Run = TypeVar("Run", bound=Callable[..., Any])
_ORDINALS = ("first", "second", "third", "fourth", "fifth")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Parameter of a function: `name: text|list?`, a `?` for one that may be left out, a `*` for any number."""

    name: str
    type: Type
    words: str
    is_optional: bool
    is_repeated: bool

    def accepts(self, value: Value) -> bool:
        """Return whether a value is of one of the kinds."""
        kind = kind_of(value)
        return kind in self.type.kinds or (self.words == "whole" and kind == "float" and value.is_integer())

    def expected(self) -> str:
        """Return the words for a message."""
        return self.type.words()


@dataclass(frozen=True, eq=False)
class Function:
    """Function of expressions; as a value it can only be asked for its type."""

    name: str
    signature: str
    parameters: tuple[Parameter, ...]
    result: Type
    run: Callable[..., Value]
    group: str
    summary: str
    example: str

    @cached_property
    def least(self) -> int:
        """Number of arguments that cannot be left out."""
        return sum(not (parameter.is_optional or parameter.is_repeated) for parameter in self.parameters)

    @cached_property
    def most(self) -> int | None:
        """Largest number of arguments, None without a bound."""
        return None if any(parameter.is_repeated for parameter in self.parameters) else len(self.parameters)

    def parameter(self, number: int) -> Parameter:
        """Return the parameter that takes the argument at a place."""
        return self.parameters[min(number, len(self.parameters) - 1)]

    def count_fault(self, count: int) -> str | None:
        """Return the message for a wrong number of arguments."""
        if self.least <= count and (self.most is None or count <= self.most):
            return None
        return f"expected {self.signature}, found {count} argument{'s' * (count != 1)}"

    def type_fault(self, number: int, kind: str) -> str:
        """Return the message for an argument of a wrong kind."""
        place = _ORDINALS[number] if number < len(_ORDINALS) else "a later"
        return f"expected {self.parameter(number).expected()} as the {place} argument of {self.name}(), found {kind}"

    def call(self, tools: Tools, arguments: Sequence[Value], *subject: Value) -> Value:
        """Call the function with arguments that are checked here; of a method the subject comes first."""
        if fault := self.count_fault(len(arguments)):
            fail(Reason.ARITY, fault)
        checked = []
        for number, value in enumerate(arguments):
            parameter = self.parameter(number)
            if not parameter.accepts(value):
                fail(Reason.TYPE, self.type_fault(number, words_for(value)))
            checked.append(integer(value, "an integer") if parameter.words == "whole" else value)
        return self.run(tools, *subject, *checked)


def type_in(words: str) -> Type:
    """Return the type that a signature names: `text`, `text|list`, `[text]`."""
    if words.startswith("["):
        return kinds.list_of(type_in(words[1:-1]))
    if words.startswith("map of "):
        return kinds.map_of(type_in(words.removeprefix("map of ")))
    accepted = frozenset[str]().union(*(SIGNATURE_WORDS[word] for word in words.split("|")))
    return Type(accepted)


def result_in(words: str) -> Type:
    """Return the type of a result: there an int is nothing but an int."""
    if words in ("int", "number"):
        return kinds.INT if words == "int" else kinds.NUMBER
    if words == "[int]":
        return kinds.list_of(kinds.INT)
    return type_in(words)


def _parameters(text: str) -> Iterator[Parameter]:
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, words = part.partition(": ")
        is_optional, is_repeated = words.endswith("?"), words.endswith("*")
        plain = words.rstrip("?*")
        yield Parameter(name, type_in(plain), plain, is_optional, is_repeated)


class Table:
    """Functions by name."""

    def __init__(self) -> None:
        self.functions: dict[str, Function] = {}

    def add(self, group: str, signature: str, summary: str, example: str) -> Callable[[Run], Run]:
        """Return the decorator that puts a function into the table."""
        match = _SIGNATURE.fullmatch(signature)
        assert match is not None, signature
        name, parameters, result = match.groups()

        def put(run: Run) -> Run:
            self.functions[name] = Function(
                name,
                signature,
                tuple(_parameters(parameters)),
                result_in(result),
                run,
                group,
                summary,
                example,
            )
            return run

        return put
