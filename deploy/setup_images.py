"""The images that a run needs: there, pulled, or stand-ins for this run, which are removed at its end."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import images
from setup_screen import Step, Stop

_SCRIPT = Path(__file__).with_name("images")
_SECONDS = 1200


@contextlib.contextmanager
def standins(names: Sequence[str]) -> Iterator[list[str]]:
    """Provide the images by `deploy/images`; yields the stand-ins that it made, and takes them away at the end.

    An image that it has no recipe for is Docker's to pull when the task starts. Raises Stop.
    """
    known = [name for name in names if name in images.RECIPES]
    with tempfile.NamedTemporaryFile("r", prefix="ferryman-images-") as list_of_made:
        made: list[str] = []
        try:
            if known:
                _provide(known, list_of_made.name)
            made += _lines(list_of_made.name)
            yield made
        finally:
            # Read again: a Ctrl-C may have come while they were made.
            if left := _lines(list_of_made.name):
                _remove(left)


def _provide(names: Sequence[str], list_of_made: str) -> None:
    step = Step("images", f"{', '.join(names)}: ")
    done = subprocess.run(
        [str(_SCRIPT), *names, "--made", list_of_made],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        step.broken()
        raise Stop(done.stderr.strip(), done.returncode)
    pulled = [line.split()[0] for line in done.stdout.splitlines() if " pulled " in line]
    step.done(_how(names, pulled, _lines(list_of_made)))


def _how(names: Sequence[str], pulled: Sequence[str], made: Sequence[str]) -> str:
    if made:
        which = "" if len(made) == len(names) else f" for {', '.join(made)}"
        return f"no registry answers, stand-ins made{which}"
    if pulled:
        return "pulled" if len(pulled) == len(names) else f"pulled {', '.join(pulled)}"
    return "there"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().split()


def _remove(names: Sequence[str]) -> None:
    done = subprocess.run(
        [str(_SCRIPT), "--remove", *names], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        # Not silently: they stay on this machine, and whoever looks must know what they are.
        print(f"{done.stderr.strip()}\nremove them with: deploy/images --remove", file=sys.stderr)
