"""What may stand behind the question mark: a schema a path, with bounds; anything else is refused by name."""

from __future__ import annotations

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from engine.model.states import JobState
from engine.store import jobs, logs

#: A page further away than this is not looked for: the database would count its way there.
MOST_PAGES = 1_000_000
MOST_SIZE = 1000
MOST_TAIL = 10_000


class _Asked(Schema):
    class Meta:
        unknown = RAISE

    error_messages = {"unknown": "no such parameter here"}  # noqa: RUF012 - marshmallow reads it so


def _size(default: int) -> Any:
    bounds = validate.Range(1, MOST_SIZE, error="expected a number from 1 to {max}")
    return fields.Integer(load_default=default, validate=bounds)


def _searchable(text: str) -> None:
    if not all(sign.isprintable() for sign in text):
        raise ValidationError("expected words without control characters")


def _few_words(text: str) -> None:
    if len(text.split()) > jobs.MOST_WORDS:
        raise ValidationError(f"at most {jobs.MOST_WORDS} words")


class _Paged(_Asked):
    page = fields.Integer(
        load_default=1, validate=validate.Range(1, MOST_PAGES, error="expected a number from 1 to {max}")
    )
    q = fields.String(
        load_default="",
        validate=[validate.Length(max=200, error="at most {max} characters"), _searchable],
        metadata={"description": "Words to look for"},
    )


class JobList(_Paged):
    """Which jobs: words of name and description, `tag:x`, and a state."""

    size = _size(20)
    q = fields.String(
        load_default="",
        validate=[validate.Length(max=200, error="at most {max} characters"), _searchable, _few_words],
        metadata={"description": "Words of name or description; tag:x for a tag. All must fit"},
    )
    state = fields.Enum(JobState, by_value=True, load_default=None)


class Log(_Paged):
    """Which part of a log, and how: a page (JSON), a text (`tail`, `timestamps`), or as it comes (`follow`)."""

    size = _size(logs.BATCH * 25)
    tail = fields.Integer(
        load_default=None, validate=validate.Range(0, MOST_TAIL, error="expected a number from 0 to {max}")
    )
    timestamps = fields.Boolean(load_default=False)
    follow = fields.Boolean(load_default=False)


class Events(_Asked):
    """Whose events: a task's, a job's, or all."""

    task = fields.String(load_default=None)
    job = fields.String(load_default=None)
