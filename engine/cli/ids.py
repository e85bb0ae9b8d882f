"""Ids on the command line."""

from __future__ import annotations

import click


class Id(click.ParamType[str]):
    """Id of a task, job or node, which may be shortened. An empty shell variable is an error, not an id."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id without spaces around it."""
        if not value.strip():
            self.fail("it is empty; give an id: its first four characters are enough", param, ctx)
        return value.strip()
