"""Option of the settings: variable, meaning, default and bounds; conversion between values and text."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from engine.errors import SettingsError

LIST = "tuple[str, ...]"
_EXPECTED = {"int": "a whole number", "float": "a number", "bool": "0 or 1"}
_SWITCHES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


def option(default: Any, help: str, **about: Any) -> Any:
    """Define a field of a group of settings; `about` are fields of Option."""
    is_shown = not (about.get("secret") or about.get("hidden"))
    return dataclasses.field(default=default, repr=is_shown, metadata={"help": help, **about})


@dataclass(frozen=True)
class Option:
    """Option of the settings."""

    name: str
    #: The field of Settings that holds the option, "" for Settings itself.
    group: str
    #: The annotation: "str", "int", "float", "bool" or LIST.
    kind: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    #: The value is a URL that may hold a password.
    secret: bool = False
    #: The whole value is a secret.
    hidden: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of this option."""
        return f"FERRYMAN_{self.name.upper()}"

    def parse(self, text: str) -> Any:
        """Return the value of a variable's text. Raises SettingsError."""
        try:
            if self.kind == "bool":
                return _SWITCHES[text.lower()]
            if self.kind == "int":
                return int(text)
            if self.kind == "float":
                if math.isnan(float(text)):
                    raise ValueError  # it would pass every bound
                return float(text)
        except (KeyError, ValueError):
            raise SettingsError(f"{self.variable}={text!r}: expected {_EXPECTED[self.kind]}") from None
        if self.kind == LIST:
            return tuple(entry.strip() for entry in text.split(",") if entry.strip())
        return text

    def write(self, value: Any) -> str:
        """Return the text that `parse` reads as this value."""
        if self.kind == "bool":
            return "1" if value else "0"
        return ",".join(value) if self.kind == LIST else str(value)

    def check(self, value: Any) -> None:
        """Raise SettingsError when the value is out of bounds or not one of the choices."""
        if self.low is not None and value < self.low:
            raise SettingsError(f"{self.variable}={value}: must be at least {self.low}")
        if self.high is not None and value > self.high:
            raise SettingsError(f"{self.variable}={value}: must be at most {self.high}")
        values = value if self.kind == LIST else (value,)
        if self.choices and (wrong := [one for one in values if one not in self.choices]):
            raise SettingsError(f"{self.variable}={wrong[0]!r}: must be one of: {', '.join(self.choices)}")
