"""The kinds of fields of the task format, for marshmallow: each error says what was found and what to write.

Every field has an `example` as it stands in a file: it is the hint of its errors, and the example in the
API's documentation. Texts in lists and maps may be numbers or booleans and mean their source text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields

from engine.jobspec.builder import Scalar
from engine.jobspec.problems import Fault
from engine.jobspec.quantities import BadQuantity
from engine.wording.text import quoted

Rule = Callable[[str], Fault | None]
PairRule = Callable[[str, str], Fault | None]


class _Hinted:
    """What all fields share: an example, and words for "missing" and "no value"."""

    example: str

    def make_error(self, key: str, **_: Any) -> ValidationError:
        """The error for marshmallow's own checks."""
        if key == "required":
            return ValidationError([Fault("it is missing", f"write {self.example}")])
        if key == "null":
            return ValidationError([Fault("it has no value", f"write {self.example}, or remove it")])
        return ValidationError([Fault("it has the wrong form", f"write {self.example}")])


class Text(_Hinted, fields.String):
    """A text of at most `most` characters that keeps a rule; `loose`: a number means its source text."""

    def __init__(
        self, example: str, about: str, most: int, rule: Rule | None = None, loose: bool = False, **more: Any
    ) -> None:
        super().__init__(metadata={"description": about, "maxLength": most}, **more)
        self.example, self.most, self.rule, self.loose = example, most, rule, loose

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = text_of(value, self.example, self.loose)
        if len(text) > self.most:
            said = Fault(f"it has {len(text)} characters, at most {self.most} may be", "make it shorter")
            raise ValidationError([said])
        raise_fault(self.rule(text) if self.rule else None)
        return text


class Quantity(Text):
    """A text that stands for a number with a unit, kept as it was written."""

    def __init__(self, example: str, about: str, parse: Callable[[str], float], **more: Any) -> None:
        super().__init__(
            example, about, most=64, rule=lambda text: _quantity_fault(text, parse), loose=True, **more
        )


class Choice(Text):
    """One of a few words."""

    def __init__(self, example: str, about: str, words: tuple[str, ...], **more: Any) -> None:
        super().__init__(example, about, most=256, rule=self._fault, loose=True, **more)
        self.metadata = {**self.metadata, "enum": list(words)}
        self.words = words

    def _fault(self, text: str) -> Fault | None:
        if text in self.words:
            return None
        return Fault(f"{quoted(text)} is none of {', '.join(self.words)}", f"write {self.example}")


class Whole(_Hinted, fields.Integer):
    """A whole number within bounds."""

    def __init__(self, example: str, about: str, low: int, high: int, **more: Any) -> None:
        super().__init__(metadata={"description": about, "minimum": low, "maximum": high}, **more)
        self.example, self.low, self.high = example, low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        found = value.value if isinstance(value, Scalar) else value
        if isinstance(found, int) and not isinstance(found, bool) and self.low <= found <= self.high:
            return found
        said = f"{_shown(value)} is no whole number from {self.low} to {self.high}"
        raise ValidationError([Fault(said, f"write {self.example}")])


class Real(_Hinted, fields.Float):
    """A number within bounds."""

    def __init__(self, example: str, about: str, low: float, high: float, **more: Any) -> None:
        super().__init__(metadata={"description": about, "minimum": low, "maximum": high}, **more)
        self.example, self.low, self.high = example, low, high

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        found = value.value if isinstance(value, Scalar) else value
        if isinstance(found, (int, float)) and not isinstance(found, bool) and self.low <= found <= self.high:
            return float(found)
        said = f"{_shown(value)} is no number from {self.low:g} to {self.high:g}"
        raise ValidationError([Fault(said, f"write {self.example}")])


class Flag(_Hinted, fields.Boolean):
    """true or false, and no other word for them."""

    def __init__(self, example: str, about: str, **more: Any) -> None:
        super().__init__(metadata={"description": about}, **more)
        self.example = example

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        found = value.value if isinstance(value, Scalar) else value
        if isinstance(found, bool):
            return found
        raise ValidationError([Fault(f"{_shown(value)} is not true or false", f"write {self.example}")])


class Texts(_Hinted, fields.List[str]):
    """A list of at most `most` texts, each keeping a rule."""

    def __init__(self, example: str, about: str, most: int, rule: Rule | None = None, **more: Any) -> None:
        super().__init__(fields.String(), metadata={"description": about, "maxItems": most}, **more)
        self.example, self.most, self.rule = example, most, rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        items = _list_of(value, self.example, self.most)
        texts: list[Any] = []
        faults: dict[int, Any] = {}
        for index, item in enumerate(items):
            try:
                text = text_of(item, self.example, loose=True)
                raise_fault(self.rule(text) if self.rule else None)
                texts.append(text)
            except ValidationError as exc:
                faults[index] = exc.messages
        if faults:
            raise ValidationError(faults)
        return texts


class TextMap(_Hinted, fields.Dict):
    """A map of at most `most` texts by name, each pair keeping a rule."""

    def __init__(
        self, example: str, about: str, most: int, rule: PairRule | None = None, **more: Any
    ) -> None:
        about_all = {"description": about, "maxProperties": most}
        super().__init__(keys=fields.String(), values=fields.String(), metadata=about_all, **more)
        self.example, self.most, self.rule = example, most, rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise ValidationError([Fault(f"expected a map, found {_kind(value)}", f"write {self.example}")])
        if len(value) > self.most:
            said = Fault(f"it has {len(value)} entries, at most {self.most} may be", "make fewer")
            raise ValidationError([said])
        texts: dict[str, str] = {}
        faults: dict[str, Any] = {}
        for key, item in value.items():
            try:
                texts[key] = self._pair(key, item)
            except ValidationError as exc:
                faults[key] = exc.messages
        if faults:
            raise ValidationError(faults)
        return texts

    def _pair(self, key: Any, item: Any) -> str:
        _refuse_expression(str(key))
        text = text_of(item, f'{str(key)[:40]}: "…"', loose=True)
        raise_fault(self.rule(key, text) if self.rule else None)
        return text


class Group(_Hinted, fields.Nested):
    """A map with fields of its own."""

    def __init__(self, schema: type[Schema], example: str, about: str, **more: Any) -> None:
        super().__init__(schema, metadata={"description": about}, **more)
        self.example = example

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, partial: Any = None, **kwargs: Any
    ) -> Any:
        if not isinstance(value, Mapping):
            raise ValidationError([Fault(f"expected a map, found {_kind(value)}", f"write {self.example}")])
        return super()._deserialize(value, attr, data, partial, **kwargs)


class Groups(_Hinted, fields.List[Any]):
    """A list of at most `most` maps with fields of their own."""

    def __init__(self, schema: type[Schema], example: str, about: str, most: int, **more: Any) -> None:
        item = Group(schema, example, about)
        super().__init__(item, metadata={"description": about, "maxItems": most}, **more)
        self.example, self.most = example, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        return super()._deserialize(_list_of(value, self.example, self.most), attr, data, **kwargs)


def text_of(value: Any, example: str, loose: bool) -> str:
    """The text that a value means. Raises ValidationError when it means none, or holds an expression."""
    if isinstance(value, str):
        text = value
    elif value is None:
        raise ValidationError([Fault("it has no value", 'write "" for an empty text')])
    elif not isinstance(value, (Scalar, bool, int, float)):
        raise ValidationError([Fault(f"expected a text, found {_kind(value)}", f"write {example}")])
    else:
        text = _source(value)
        if not loose:
            raise ValidationError([Fault(f"expected a text, found {_kind(value)}", f'write "{text[:40]}"')])
    _refuse_expression(text)
    return text


def raise_fault(said: Fault | None) -> None:
    """Raise what a rule said, if it said anything."""
    if said is not None:
        raise ValidationError([said])


def _refuse_expression(text: str) -> None:
    if "{{" in text:
        said = Fault(
            "{{ begins an expression: not yet, expressions come with workflows", "write the value itself"
        )
        raise ValidationError([said])


def _quantity_fault(text: str, parse: Callable[[str], float]) -> Fault | None:
    try:
        parse(text)
    except BadQuantity as exc:
        return Fault(exc.what, exc.hint)
    return None


def _list_of(value: Any, example: str, most: int) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValidationError([Fault(f"expected a list, found {_kind(value)}", f"write {example}")])
    if len(value) > most:
        raise ValidationError([Fault(f"it has {len(value)} entries, at most {most} may be", "make fewer")])
    return value


def _source(value: Scalar | bool | int | float) -> str:
    if isinstance(value, Scalar):
        return value.text
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, (Scalar, bool, int, float)):
        return quoted(_source(value))
    return quoted(value) if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
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
