"""Field types of the task format, for marshmallow: each fault says what was expected, what was found, what to write.

Each field has an `example` as users write it: the hint of its faults, and the example in the API's documentation. In
lists and maps of texts, a number or boolean stands for its source text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from marshmallow import Schema, ValidationError, fields

from engine.jobspec.builder import Scalar
from engine.jobspec.problems import Fault
from engine.jobspec.quantities import BadQuantity
from engine.wording.text import quoted

#: TextRule for a text, and for an entry (key, value) of a map.
TextRule = Callable[[str], Fault | None]
EntryRule = Callable[[str, str], Fault | None]


class Verbatim(str):
    """Text of a job's file in which `{{` means nothing, as in a script."""

    __slots__ = ()


class Unevaluated(Verbatim):
    """Text of a job's file with expressions: its rule is asked when the task is opened, with what they yield."""

    __slots__ = ()


class WithExample:
    """Base of all fields: an example, and faults in our words for marshmallow's own checks."""

    example: str

    def make_error(self, key: str, **_: Any) -> ValidationError:
        """Return the error for one of marshmallow's own checks."""
        if key == "required":
            return ValidationError([required_fault(self.example)])
        if key == "null":
            return ValidationError([Fault("the field has no value", f"write {self.example}, or remove it")])
        return ValidationError([Fault("the value has the wrong form", f"write {self.example}")])


class Text(WithExample, fields.String):
    """Text of at most `most` characters with a rule; if `loose`, a number stands for its source text."""

    def __init__(
        self,
        example: str,
        about: str,
        most: int,
        rule: TextRule | None = None,
        loose: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(metadata={"description": about, "maxLength": most}, **more)
        self.example, self.most, self.rule, self.loose = example, most, rule, loose

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = text_of(value, self.example, self.loose)
        if isinstance(text, Unevaluated):
            return text
        if len(text) > self.most:
            message = f"the text has {len(text)} characters, at most {self.most} are allowed"
            raise ValidationError([Fault(message, "shorten it")])
        raise_fault(self.rule(text) if self.rule else None)
        return text


class Quantity(Text):
    """Text that stands for a number with a unit, kept as it was written."""

    def __init__(self, example: str, about: str, parse: Callable[[str], float], **more: Any) -> None:
        super().__init__(
            example, about, most=64, rule=lambda text: quantity_fault(text, parse), loose=True, **more
        )


class Choice(Text):
    """Text that must be one of a few words."""

    def __init__(self, example: str, about: str, words: tuple[str, ...], **more: Any) -> None:
        super().__init__(example, about, most=256, rule=self._fault, loose=True, **more)
        self.metadata = {**self.metadata, "enum": list(words)}
        self.words = words

    def _fault(self, text: str) -> Fault | None:
        return choice_fault(text, self.words, self.example)


class Whole(WithExample, fields.Integer):
    """Whole number within bounds."""

    def __init__(self, example: str, about: str, low: int, high: int, **more: Any) -> None:
        super().__init__(metadata={"description": about, "minimum": low, "maximum": high}, **more)
        self.example, self.low, self.high = example, low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        number = value.value if isinstance(value, Scalar) else value
        if isinstance(number, int) and not isinstance(number, bool) and self.low <= number <= self.high:
            return number
        raise _unexpected(f"a whole number from {self.low} to {self.high}", value, self.example)


class Real(WithExample, fields.Float):
    """Number within bounds."""

    def __init__(self, example: str, about: str, low: float, high: float, **more: Any) -> None:
        super().__init__(metadata={"description": about, "minimum": low, "maximum": high}, **more)
        self.example, self.low, self.high = example, low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        number = value.value if isinstance(value, Scalar) else value
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if is_number and self.low <= number <= self.high:
            return float(number)
        raise _unexpected(f"a number from {self.low:g} to {self.high:g}", value, self.example)


class Flag(WithExample, fields.Boolean):
    """Boolean: true or false, no other word."""

    def __init__(self, example: str, about: str, **more: Any) -> None:
        super().__init__(metadata={"description": about}, **more)
        self.example = example

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        flag = value.value if isinstance(value, Scalar) else value
        if isinstance(flag, bool):
            return flag
        raise _unexpected("true or false", value, self.example)


class Texts(WithExample, fields.List[str]):
    """List of at most `most` texts, each checked by a rule."""

    def __init__(
        self, example: str, about: str, most: int, rule: TextRule | None = None, **more: Any
    ) -> None:
        super().__init__(fields.String(), metadata={"description": about, "maxItems": most}, **more)
        self.example, self.most, self.rule = example, most, rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        items = _list_of(value, self.example, self.most)
        texts: list[Any] = []
        faults: dict[int, Any] = {}
        for index, item in enumerate(items):
            try:
                text = text_of(item, self.example, loose=True)
                if self.rule and not isinstance(text, Unevaluated):
                    raise_fault(self.rule(text))
                texts.append(text)
            except ValidationError as exc:
                faults[index] = exc.messages
        if faults:
            raise ValidationError(faults)
        return texts


class TextMap(WithExample, fields.Dict):
    """Map of at most `most` names to texts, each entry checked by a rule."""

    def __init__(
        self, example: str, about: str, most: int, rule: EntryRule | None = None, **more: Any
    ) -> None:
        about_all = {"description": about, "maxProperties": most}
        super().__init__(keys=fields.String(), values=fields.String(), metadata=about_all, **more)
        self.example, self.most, self.rule = example, most, rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise _unexpected("a map", value, self.example)
        _check_length(value, self.most)
        texts: dict[str, str] = {}
        faults: dict[str, Any] = {}
        for key, item in value.items():
            try:
                texts[key] = self._entry(key, item)
            except ValidationError as exc:
                faults[key] = exc.messages
        if faults:
            raise ValidationError(faults)
        return texts

    def _entry(self, key: Any, item: Any) -> str:
        _refuse_expression(str(key))
        text = text_of(item, f'{str(key)[:40]}: "…"', loose=True)
        # The name is known even where its text is not.
        raise_fault(self.rule(key, "" if isinstance(text, Unevaluated) else text) if self.rule else None)
        return text


class Group(WithExample, fields.Nested):
    """Map with fields of its own."""

    def __init__(self, schema: type[Schema], example: str, about: str, **more: Any) -> None:
        super().__init__(schema, metadata={"description": about}, **more)
        self.example = example

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, partial: Any = None, **kwargs: Any
    ) -> Any:
        if not isinstance(value, Mapping):
            raise _unexpected("a map", value, self.example)
        return super()._deserialize(value, attr, data, partial, **kwargs)


class Groups(WithExample, fields.List[Any]):
    """List of at most `most` maps with fields of their own."""

    def __init__(self, schema: type[Schema], example: str, about: str, most: int, **more: Any) -> None:
        item = Group(schema, example, about)
        super().__init__(item, metadata={"description": about, "maxItems": most}, **more)
        self.example, self.most = example, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        return super()._deserialize(_list_of(value, self.example, self.most), attr, data, **kwargs)


def text_of(value: Any, example: str, loose: bool) -> str:
    """Return the text that a value stands for. Raises ValidationError for other values and for expressions."""
    if isinstance(value, str):
        text = value
    elif value is None:
        raise ValidationError([Fault("expected a text, found nothing", 'write "" for an empty text')])
    elif not isinstance(value, (Scalar, bool, int, float)):
        raise _unexpected("a text", value, example)
    else:
        text = _source(value)
        if not loose:
            raise _unexpected("a text", value, f'"{text[:40]}"')
    if not isinstance(text, Verbatim):
        _refuse_expression(text)
    return text


def raise_fault(fault: Fault | None) -> None:
    """Raise the fault that a rule returned, if any."""
    if fault is not None:
        raise ValidationError([fault])


def required_fault(example: str) -> Fault:
    """Return the fault for a required field that is missing."""
    return Fault("this required field is missing", f"write {example}")


def choice_fault(text: str, words: Sequence[str], example: str) -> Fault | None:
    """Return the fault of a text that is not one of the words."""
    if text in words:
        return None
    if len(words) == 1:
        return Fault(f"{quoted(text)} is not allowed, only {words[0]} is", f"write {example}")
    return Fault(f"{quoted(text)} must be one of: {', '.join(words)}", f"write {example}")


def quantity_fault(text: str, parse: Callable[[str], float]) -> Fault | None:
    """Return the fault with which `parse` refuses the text."""
    try:
        parse(text)
    except BadQuantity as exc:
        return exc.fault
    return None


def kind_of(value: Any) -> str:
    """Return a value's kind for people: `a map`, `the number 5`, `the text "x"`."""
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    typed = value.value if isinstance(value, Scalar) else value
    if typed is None:
        return "nothing"
    kind = "the boolean" if isinstance(typed, bool) else "the number"
    return f"{kind} {_source(value)[:40]}"


def _unexpected(expected: str, value: Any, example: str) -> ValidationError:
    return ValidationError([Fault(f"expected {expected}, found {kind_of(value)}", f"write {example}")])


def _refuse_expression(text: str) -> None:
    if "{{" in text:
        message = "{{ begins an expression, which is not supported yet (it comes with workflows)"
        raise ValidationError([Fault(message, "write the value itself")])


def _check_length(value: Sequence[Any] | Mapping[Any, Any], most: int) -> None:
    if len(value) > most:
        message = f"{len(value)} entries, at most {most} are allowed"
        raise ValidationError([Fault(message, "remove some")])


def _list_of(value: Any, example: str, most: int) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _unexpected("a list", value, example)
    _check_length(value, most)
    return value


def _source(value: Scalar | bool | int | float) -> str:
    if isinstance(value, Scalar):
        return value.text
    return str(value).lower() if isinstance(value, bool) else str(value)
