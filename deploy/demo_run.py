"""What `deploy/demo` does, in order: refuse early, .venv, Docker, images, stack, the task, and all away again."""

from __future__ import annotations

import contextlib
import os
import sys

import setup_docker
import setup_python
from setup_screen import Step, Stop, forgive_the_terminal, reader_is_gone, say

HELLO = os.path.join("examples", "hello.yaml")


def main(script: str, arguments: list[str]) -> int:
    """Run the demo; returns the exit status."""
    forgive_the_terminal()
    if len(arguments) > 1 or arguments[:1] in (["-h"], ["--help"]):
        say("usage: deploy/demo [FILE]      FILE: a task in YAML or JSON (default: examples/hello.yaml)")
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
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
        say(f"\nStopped by you{': ' + ', '.join(left) if left else ''}. Nothing is left running.")
        return 130


def _demo(script: str, arguments: list[str], stage: contextlib.ExitStack, left: list[str]) -> int:
    if not setup_python.is_inside():
        file = os.path.abspath(arguments[0]) if arguments else os.path.join(setup_python.ROOT, HELLO)
        if not os.path.isfile(file):
            raise Stop(f"{arguments[0]}: no such file")
        setup_docker.refuse_early()
        say("Ferryman demo: one real container through a real Celery chain.")
        say("All of it lives in .venv and a temporary folder; nothing keeps running.")
        setup_python.enter(os.path.abspath(script), arguments, setup_python.DEMO_EXTRAS)
    return _inside(arguments, stage, left)


def _inside(arguments: list[str], stage: contextlib.ExitStack, left: list[str]) -> int:
    """The rest, in the environment: everything of Ferryman can be imported here."""
    import demo_show
    import setup_images

    from engine.errors import FerrymanError
    from engine.standalone.temporary import standalone

    name = arguments[0] if arguments else HELLO
    file = os.path.abspath(name) if arguments else os.path.join(setup_python.ROOT, HELLO)
    text, spec = demo_show.read(file, name)
    daemon = stage.enter_context(setup_docker.Daemon())
    if daemon.started:
        left.append("daemon")
    made = stage.enter_context(setup_images.standins(sorted({link.image for _, link in spec.links})))
    if made:
        left.insert(0, "stand-ins")
    try:
        step = Step("stack", "")
        queue = f"{spec.queue or 'default'}:2"
        port, note = demo_show.port()
        running = stage.enter_context(standalone(sys.executable, [queue], port))
        left[:0] = ["worker", "API", *(["broker"] if "embedded" in running.broker else [])]
        step.done(
            f"broker {demo_show.short_broker(running.broker)} · SQLite · worker {queue} · {running.url}{note}"
        )
        task = demo_show.run(running.url, name, file, text)
    except FerrymanError as exc:
        raise Stop(f"\n{exc}", 1) from exc
    stage.close()
    say(f"\nStopped: {', '.join(left)}. Nothing is left running.")
    demo_show.say_next()
    return 0 if task["state"] == "COMPLETED" else 1
