"""Prints docs/reference/settings.rst from the settings' own words: `python docs/settings_page.py > …`.

A test compares the page with what this prints, so that it cannot rot.
"""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any

from engine.settings import Settings, variable

HEAD = """\
Settings
========

Every process reads its settings from the environment, once, at its start. A wrong value ends it with a sentence that
names the variable. A command line's option (``--host``, ``--port``, ``--data-dir``) wins over its variable. This page
is printed by ``docs/settings_page.py``.

.. list-table::
   :header-rows: 1
   :widths: 34 44 22

   * - variable
     - meaning
     - default
"""

TAIL = """
Defaults that depend on others
------------------------------

* ``FERRYMAN_DATA_DIR``: ``$XDG_DATA_HOME/ferryman``, so ``~/.local/share/ferryman``.
* ``FERRYMAN_DATABASE_URL``, ``FERRYMAN_BROKER_URL``, ``FERRYMAN_API_URL``: those of the stand-alone that runs on the
  data directory, read from its ``run.json``; that is how a plain ``celery -A engine worker`` joins it. Else SQLite in
  the data directory, ``redis://127.0.0.1:6379/0``, and ``http://127.0.0.1:3000``. PostgreSQL is
  ``postgresql+psycopg://user:password@host/name``.
* ``FERRYMAN_DOCKER_HOST``: ``DOCKER_HOST``, else the local socket.

A SQLite file with a broker on another host is refused: workers elsewhere would not see the rows.
``FERRYMAN_ONE_HOST=1`` says that all processes run here although the broker's name does not.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_row(field) for field in fields(Settings)) + TAIL


def _row(field: Field[Any]) -> str:
    meaning = field.metadata["help"] + _bounds(field)
    return f"   * - ``{variable(field.name)}``\n     - {meaning}\n     - {_default(field.default)}\n"


def _bounds(field: Field[Any]) -> str:
    low, high = field.metadata["low"], field.metadata["high"]
    if low is None:
        return ""
    return f" (at least {low})" if high is None else f" ({low} to {high})"


def _default(value: Any) -> str:
    if value == "":
        return "*none*"
    return f"``{int(value) if isinstance(value, bool) else value}``"


if __name__ == "__main__":
    print(page(), end="")
