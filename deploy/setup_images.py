"""The images that a run needs: there, pulled, or stand-ins for this run, which are removed at its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import images
from docker.errors import ImageNotFound
from setup_screen import Step, Stop

from engine.errors import FerrymanError
from engine.runtime.docker.client import Client, translated

_SCRIPT = Path(__file__).with_name("images")
_SECONDS = 1200
_END_SECONDS = 20


@contextlib.contextmanager
def standins(names: Sequence[str]) -> Iterator[list[str]]:
    """Provide the images by `deploy/images`; yields the stand-ins that it made, and takes them away at the end.

    An image that it has no recipe for is Docker's to pull when the task starts. Raises Stop.
    """
    absent = [name for name in names if name in images.RECIPES and not _is_there(name)]
    with tempfile.NamedTemporaryFile("r", prefix="ferryman-images-") as list_of_made:
        try:
            _provide(names, absent, list_of_made.name)
            yield _lines(list_of_made.name)
        finally:
            # All that were absent, not those listed: a Ctrl-C may come between the making and the list.
            if absent:
                _remove(absent)


def _provide(names: Sequence[str], absent: Sequence[str], list_of_made: str) -> None:
    if not absent:
        Step("images", f"{', '.join(names)}: there").done()
        return
    step = Step("images", f"{', '.join(absent)}: ")
    with subprocess.Popen(
        [str(_SCRIPT), *absent, "--made", list_of_made],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as child:  # fmt: skip
        try:
            said, complaint = child.communicate(timeout=_SECONDS)
        except BaseException:
            # It takes away its own container before it ends.
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_END_SECONDS)
            child.kill()
            step.broken()
            raise
    if child.returncode:
        step.broken()
        raise Stop(complaint.strip(), child.returncode)
    pulled = [line.split()[0] for line in said.splitlines() if " pulled " in line]
    step.done(_how(absent, pulled, _lines(list_of_made)))


def _is_there(name: str) -> bool:
    client = Client(os.environ.get("FERRYMAN_DOCKER_HOST", ""))
    try:
        with translated("looking for an image"):
            client.api.inspect_image(name)
    except ImageNotFound:
        return False
    except FerrymanError as exc:
        raise Stop(str(exc)) from exc
    finally:
        client.close()
    return True


def _how(names: Sequence[str], pulled: Sequence[str], made: Sequence[str]) -> str:
    if made:
        which = "" if len(made) == len(names) else f" for {', '.join(made)}"
        return f"no registry answers, stand-ins made{which}"
    if pulled:
        return "pulled" if len(pulled) == len(names) else f"pulled {', '.join(pulled)}"
    return "there now"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().split()


def _remove(names: Sequence[str]) -> None:
    done = subprocess.run(
        [str(_SCRIPT), "--remove", *names], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        # Not silently: they stay on this machine, and whoever looks must know what they are.
        print(f"{done.stderr.strip()}\nremove them with: deploy/images --remove", file=sys.stderr)
