"""Images that a run needs: present, pulled, or stand-ins, which are removed at the end of the run."""

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
    """Provide the images by `deploy/images`, yield the names of the stand-ins it built, and remove them at the end.

    Images without a recipe are skipped: Docker pulls them when the task starts. Raises Stop.
    """
    absent = [name for name in names if name in images.RECIPES and not _is_there(name)]
    with tempfile.NamedTemporaryFile("r", prefix="ferryman-images-") as list_of_made:
        try:
            _provide(names, absent, list_of_made.name)
            yield _lines(list_of_made.name)
        finally:
            # Not only those listed: a Ctrl-C may come after an image was built and before the list was written.
            if absent:
                _remove(absent)


def _provide(names: Sequence[str], absent: Sequence[str], list_of_made: str) -> None:
    if not absent:
        Step("images", f"{', '.join(names)}: present").done()
        return
    step = Step("images", f"{', '.join(absent)}: ")
    with subprocess.Popen(
        [str(_SCRIPT), *absent, "--made", list_of_made],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as child:  # fmt: skip
        try:
            output, error = child.communicate(timeout=_SECONDS)
        except BaseException:
            # Let it remove its own container before it ends.
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_END_SECONDS)
            child.kill()
            step.broken()
            raise
    if child.returncode:
        step.broken()
        raise Stop(error.strip(), child.returncode)
    pulled = [line.split()[0] for line in output.splitlines() if " pulled " in line]
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
        return f"no registry answers, stand-ins built{which}"
    if pulled:
        return "pulled" if len(pulled) == len(names) else f"pulled {', '.join(pulled)}"
    return "present now"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().split()


def _remove(names: Sequence[str]) -> None:
    done = subprocess.run(
        [str(_SCRIPT), "--remove", *names], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        # The user must know that images stay on this machine, and what they are.
        print(f"{done.stderr.strip()}\nremove these images with: deploy/images --remove", file=sys.stderr)
