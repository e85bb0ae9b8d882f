"""Steps of `deploy/demo`, in order: early refusal, .venv, Docker, images, stack, task, removal of all of it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

import setup_docker
import setup_python
from setup_screen import Step, Stop, forgive_the_terminal, reader_is_gone, say

if TYPE_CHECKING:
    from engine.standalone.ephemeral import RunningStandalone

HELLO = os.path.join("examples", "hello.yaml")
KILL = "--kill"
_WHAT = "one real container, run by a real Celery chain."


def main(script: str, arguments: list[str]) -> int:
    """Run the demo and return the exit status."""
    forgive_the_terminal()
    if len(arguments) > 1 or (arguments[:1] != [KILL] and arguments[:1] and arguments[0].startswith("-")):
        say("usage: deploy/demo [FILE]      FILE: a task in YAML or JSON (default: examples/hello.yaml)")
        say(
            "       deploy/demo --kill      kill -9 a worker while its container runs; another one finishes it"
        )
        return 0 if arguments[0] in ("-h", "--help") else 2
    setup_python.listen_for_interrupts()
    left: list[str] = []
    try:
        with contextlib.ExitStack() as stage:
            try:
                return _demo(script, arguments, stage, left)
            finally:
                setup_python.ignore_interrupts()
    except Stop as exc:
        print(exc, file=sys.stderr)
        return exc.status
    except BrokenPipeError:
        return reader_is_gone()
    except KeyboardInterrupt:
        stopped = f" Stopped: {', '.join(left)}." if left else ""
        say(f"\nInterrupted.{stopped} Nothing is left running.")
        return 130


def _demo(script: str, arguments: list[str], stage: contextlib.ExitStack, left: list[str]) -> int:
    if not setup_python.is_inside():
        if arguments and arguments != [KILL] and not os.path.isfile(arguments[0]):
            raise Stop(f"{arguments[0]}: no such file")
        setup_docker.refuse_early()
        what = "kill -9 of a worker while its container runs." if arguments == [KILL] else _WHAT
        say(f"Ferryman demo: {what}")
        say("It writes only to .venv and a temporary directory, and leaves nothing running.")
        setup_python.enter(os.path.abspath(script), arguments, setup_python.DEMO_EXTRAS)
    return (_kill if arguments == [KILL] else _inside)(arguments, stage, left)


def _inside(arguments: list[str], stage: contextlib.ExitStack, left: list[str]) -> int:
    """Run one task. This process runs in .venv, so that Ferryman can be imported."""
    import demo_show

    from engine.errors import FerrymanError

    name = arguments[0] if arguments else HELLO
    file = os.path.abspath(name) if arguments else os.path.join(setup_python.ROOT, HELLO)
    text, spec = demo_show.read(file, name)
    try:
        images = sorted({link.image for _, link in spec.links})
        running = _stack(images, f"{spec.queue or 'default'}:2", stage, left)
        task = demo_show.run(running.url, name, file, text)
    except FerrymanError as exc:
        raise Stop(f"\n{exc}", 1) from exc
    _leave(stage, left)
    demo_show.say_next()
    return 0 if task["state"] == "COMPLETED" else 1


def _kill(arguments: list[str], stage: contextlib.ExitStack, left: list[str]) -> int:
    """Kill a worker and show what follows. This process runs in .venv."""
    import demo_kill

    from engine.errors import FerrymanError

    try:
        running = _stack([demo_kill.IMAGE], f"{demo_kill.OTHER}:2", stage, left)
        is_true = demo_kill.play(running, stage)
    except FerrymanError as exc:
        raise Stop(f"\n{exc}", 1) from exc
    _leave(stage, left)
    return 0 if is_true else 1


def _stack(images: list[str], queue: str, stage: contextlib.ExitStack, left: list[str]) -> RunningStandalone:
    """Start Docker, images and the stand-alone; the stage removes them when it closes, and `left` gets their names."""
    import demo_show
    import setup_images

    from engine.standalone.ephemeral import standalone

    daemon = stage.enter_context(setup_docker.Daemon())
    if daemon.started:
        left.append("daemon")
    made = stage.enter_context(setup_images.standins(images))
    if made:
        left.insert(0, "stand-ins")
    step = Step("stack", "")
    port, note = demo_show.port()
    running = stage.enter_context(standalone(sys.executable, [queue], port))
    left[:0] = ["worker", "API", *(["broker"] if "embedded" in running.broker else [])]
    step.done(
        f"broker {demo_show.short_broker(running.broker)} · SQLite · worker {queue} · {running.url}{note}"
    )
    return running


def _leave(stage: contextlib.ExitStack, left: list[str]) -> None:
    stage.close()
    say(f"\nStopped: {', '.join(left)}. Nothing is left running.")
