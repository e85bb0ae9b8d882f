"""Schemas of the query parameters, with bounds; an unknown parameter is refused by name."""

from __future__ import annotations

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from engine.model.states import JobState
from engine.store import jobs, logs
from engine.wording.text import unsafe_character

#: A higher page number is refused: the database would count its way to that page.
MOST_PAGES = 1_000_000
MOST_SIZE = 1000
MOST_TAIL = 10_000


class _Query(Schema):
    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "unknown parameter"}  # noqa: RUF012 - marshmallow reads it so


def _number(default: int | None, least: int, most: int, about: str) -> Any:
    bounds = validate.Range(least, most, error="expected a number from {min} to {max}")
    return fields.Integer(load_default=default, validate=bounds, metadata={"description": about})


def _words(about: str, *rules: Any) -> Any:
    length = validate.Length(max=200, error="expected at most {max} characters")
    return fields.String(
        load_default="", validate=[length, _check_printable, *rules], metadata={"description": about}
    )


def _check_printable(text: str) -> None:
    if unsafe_character(text):
        raise ValidationError("control characters are not allowed")


def _check_few_words(text: str) -> None:
    if len(text.split()) > jobs.MOST_WORDS:
        raise ValidationError(f"expected at most {jobs.MOST_WORDS} words")


class _State(fields.Enum[JobState]):
    """State in upper or lower case, as the command line takes it."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._deserialize(value.upper() if isinstance(value, str) else value, *args, **kwargs)


class _PageQuery(_Query):
    page = _number(1, 1, MOST_PAGES, "Number of the page, from 1")


class JobQuery(_PageQuery):
    """Selection of jobs by words, tag and state."""

    size = _number(20, 1, MOST_SIZE, "Jobs on a page")
    q = _words("Words of name or description; tag:x for a tag. All must match", _check_few_words)
    state = _State(
        JobState, by_value=True, load_default=None, metadata={"description": "Return only jobs in this state"}
    )


class LogQuery(_PageQuery):
    """Part and form of a log: a page (JSON), text (`tail`, `timestamps`), or a stream (`follow`)."""

    size = _number(logs.BATCH * 25, 1, MOST_SIZE, "Lines on a page")
    q = _words("Return only lines that contain this text, in upper or lower case")
    attempt = _number(None, 1, MOST_PAGES, "Return only the output of this attempt, from 1")
    link = _number(None, 0, MOST_PAGES, "Return only the output of the link with this index, from 0")
    tail = _number(None, 0, MOST_TAIL, "Return only this many lines of the end")
    timestamps = fields.Boolean(
        load_default=False, metadata={"description": "Begin each line with the time at which it was written"}
    )
    follow = fields.Boolean(
        load_default=False, metadata={"description": "Stream the log as it is written, until the task ends"}
    )


class EventQuery(_Query):
    """Selection of events: those of a task or of a job, else all."""

    task = fields.String(load_default=None, metadata={"description": "Id of a task"})
    job = fields.String(load_default=None, metadata={"description": "Id of a job"})
