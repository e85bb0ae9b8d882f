"""Story of a seed, step by step, in words that a person can follow."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.model.records import Token

_MOST_LINES = 250


@dataclass
class Story:
    """Lines in the order of the steps, formatted only when somebody reads them."""

    seed: int
    #: task id -> its name.
    names: dict[str, str] = field(default_factory=dict)
    step: int = 0
    lines: list[tuple[int, str, str]] = field(default_factory=list)

    def tell(self, who: str, what: str, token: Token | None = None) -> None:
        """Add a line; the token says whose work it is about."""
        about = f" [{self._named(token)}]" if token else ""
        self.lines.append((self.step, who, what + about))

    def _named(self, token: Token) -> str:
        name = self.names.get(token.task_id, token.task_id[:6])
        return f"{name}, attempt {token.attempt}, delivery {token.delivery}"

    def __str__(self) -> str:
        return self.told(_MOST_LINES)

    def told(self, most: int = 100_000) -> str:
        """Return the last lines."""
        shown = self.lines[-most:]
        cut = len(self.lines) - len(shown)
        head = [f"seed {self.seed}, as it happened:"] + ([f"({cut} lines before)"] if cut else [])
        return "\n".join(head + [f"{step:5} {who:<9} {what}" for step, who, what in shown])
