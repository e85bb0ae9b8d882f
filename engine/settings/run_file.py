"""The `run.json` of a running stand-alone: the addresses of its database, broker and API."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import SettingsError
from engine.settings import private


@dataclass(frozen=True)
class RunFile:
    """Place of a run file, which names the broker of a database while a stand-alone runs."""

    path: Path
    #: The database of this process: the broker of another one must never be followed.
    database_url: str

    def broker_url(self) -> str | None:
        """Return the broker's URL, None when no stand-alone of this database runs. Raises SettingsError."""
        content = read(self.path)
        if content.get("database_url") != self.database_url:
            return None
        return str(content.get("broker_url") or "") or None


def read(path: Path) -> dict[str, Any]:
    """Return what a running stand-alone wrote, {} when none runs. Raises SettingsError for a file not to be trusted."""
    try:
        content = json.loads(private.read_secret(path))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror}; set FERRYMAN_DATA_DIR") from exc
    except ValueError as exc:
        raise SettingsError(f"{path} is not valid JSON: remove it, then start the stand-alone again") from exc
    return content if isinstance(content, dict) else {}
