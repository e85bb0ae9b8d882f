"""Printer of docs/reference/settings.rst, from the settings' own texts: `python docs/settings_page.py > …`.

A test compares the page with what this prints, so the page cannot become stale.
"""

from __future__ import annotations

from engine.settings import GROUPS, OPTIONS, Option

HEAD = """\
Settings
========

Every process reads its settings from the environment, once, when it starts. A wrong value ends the process with an
error that names the variable. A command line's option (``--host``, ``--port``, ``--data-dir``) wins over its variable.
``ferryman settings`` prints the values in effect in your shell and their origins. Times are in seconds, sizes in bytes.

In the code the settings are in groups, and each part of Ferryman is given its own: ``settings.cluster.lease_seconds``.
This page is printed by ``docs/settings_page.py``.
"""

TABLE = """
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

* ``FERRYMAN_DATA_DIR``: ``$XDG_DATA_HOME/ferryman``, which is ``~/.local/share/ferryman`` if that variable is not set.
* ``FERRYMAN_DATABASE_URL``, ``FERRYMAN_BROKER_URL``, ``FERRYMAN_API_URL``: those of the stand-alone that runs on the
  data directory, read from its ``run.json``; this is how a plain ``celery -A engine worker`` joins it, and how it
  finds the broker again after a restart of the stand-alone. If none runs:
  SQLite in the data directory, ``redis://127.0.0.1:6379/0``, and ``http://127.0.0.1:3000``. A URL for PostgreSQL is
  ``postgresql+psycopg://user:password@host/name``.
* ``FERRYMAN_DOCKER_HOST``: ``DOCKER_HOST``, else the local socket.

A SQLite file with a broker on another host is refused, because workers on other hosts could not read the rows. Set
``FERRYMAN_ONE_HOST=1`` if all processes run on this host although the broker's name is not a loopback name.
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(_table(group) for group in GROUPS) + TAIL


def _table(group: str) -> str:
    title, _, scope = (GROUPS[group].__doc__ or "").partition(": ")
    rows = [_row(option) for option in OPTIONS.values() if option.group == group]
    code = f"``settings.{group}``" if group else "``settings``"
    scope = scope[0].upper() + scope[1:]
    return f"\n{title}\n{'-' * len(title)}\n\n{code}. {scope}\n{TABLE}" + "".join(rows)


def _row(option: Option) -> str:
    meaning = option.help + _bounds(option)
    return f"   * - ``{option.variable}``\n     - {meaning}\n     - {_default(option)}\n"


def _bounds(option: Option) -> str:
    if option.low is None:
        return ""
    return f" (at least {option.low})" if option.high is None else f" ({option.low} to {option.high})"


def _default(option: Option) -> str:
    text = option.write(option.default)
    return f"``{text}``" if text else "*none*"


if __name__ == "__main__":
    print(page(), end="")
