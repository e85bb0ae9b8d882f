"""Stand-ins for the images of the examples, built from this machine's own programs.

They are built only for images that are missing, and only when no registry answers within ten seconds: a real image is
always preferred and never replaced. Each stand-in has the label ferryman.standin; --remove removes only those.
Exit status: 0 all images are present, 1 an image is not available, 2 a program is missing or Docker does not answer.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import images_tree
from docker.errors import APIError, ImageNotFound

from engine.errors import FerrymanError
from engine.model.names import STANDIN
from engine.runtime.docker import messages
from engine.runtime.docker.client import Client, message_of, translated
from engine.runtime.docker.images import PullFailed, PullStopped, pull

ANSWER_SECONDS = 10.0
PULL_SECONDS = 900.0
#: Raised whenever a recipe changes, so that an older cache is not used.
RECIPE = 3


@dataclass(frozen=True)
class Recipe:
    """Recipe of one stand-in: the programs it needs with their Debian packages, its file tree, its check."""

    programs: dict[str, str]
    tree: Callable[[], images_tree.Tree]
    changes: tuple[str, ...]
    #: Command to run in the built image; if it fails, the stand-in is not usable.
    check: tuple[str, ...]


PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# wget must not crash on an unknown name, must fetch a file, and must post a file with a NUL byte whole: Debian's
# busybox-static has been seen to fail each of the three.
WGET_CHECK = r"""
mkdir -p /tmp/h/cgi-bin && printf 'a\0b' > /tmp/h/file || exit 1
printf '#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n$CONTENT_LENGTH"\n' > /tmp/h/cgi-bin/length
chmod 755 /tmp/h/cgi-bin/length
httpd -p 127.0.0.1:8099 -h /tmp/h && wget -q -O /dev/null http://localhost:8099/file || exit 1
test "$(wget -q -O - --post-file=/tmp/h/file http://localhost:8099/cgi-bin/length)" = 3 || exit 1
wget -q -O - http://name.invalid/; test $? -lt 100
"""
BUSYBOX = Recipe(
    {"busybox": "busybox-static", "wget": "wget"},
    images_tree.busybox,
    (PATH, 'CMD ["sh"]'),
    ("sh", "-c", WGET_CHECK),
)
RECIPES = {
    "busybox:1.36": BUSYBOX,
    "alpine:3.18.3": BUSYBOX,
    "ubuntu:mantic": Recipe(
        {"bash": "bash"}, images_tree.bash, (PATH, 'CMD ["/bin/bash"]'), ("sh", "-c", "echo | cat")
    ),
    "jrottenberg/ffmpeg:3.4-scratch": Recipe(
        {"ffmpeg": "ffmpeg"},
        images_tree.ffmpeg,
        (PATH, 'ENTRYPOINT ["ffmpeg"]', 'CMD ["--help"]'),
        ("-version",),
    ),
}


class Unavailable(Exception):
    """Error for an image that is not available; `code` is the exit status, 2 if a program must be installed."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.code = code


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status."""
    options = _options(arguments)
    say = (lambda text: None) if options.quiet else (lambda text: print(text, flush=True))
    client = Client(os.environ.get("FERRYMAN_DOCKER_HOST", ""), timeout=300)
    try:
        if options.remove:
            return _remove(client, options.names, say)
        return _provide(client, options, say)
    except Unavailable as exc:
        print(f"deploy/images: {exc}", file=sys.stderr)
        return exc.code
    except (FerrymanError, images_tree.NotInstalled) as exc:
        print(f"deploy/images: {exc}", file=sys.stderr)
        return 2


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy/images", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"image to provide: {', '.join(RECIPES)}; default: all"
    )
    parser.add_argument("--remove", action="store_true", help="remove stand-ins; real images stay")
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="directory that keeps built stand-ins for the next run; default: .venv/standins",
    )
    parser.add_argument(
        "--made", metavar="FILE", help="write the names of the stand-ins that were built, one per line"
    )
    parser.add_argument("--quiet", action="store_true", help="print only errors")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in RECIPES:
            parser.error(f"no stand-in for {name}: must be one of: {', '.join(RECIPES)}")
    options.names = list(dict.fromkeys(options.names)) or list(RECIPES)
    options.cache = Path(options.cache or Path(__file__).resolve().parent.parent / ".venv" / "standins")
    return options


def _provide(client: Client, options: argparse.Namespace, say: Callable[[str], None]) -> int:
    missing = [name for name in options.names if not _is_there(client, name)]
    for name in options.names:
        if name not in missing:
            say(f"{name:32} present")
    to_build = [name for name, pulled in _ask(client, missing, say) if not pulled]
    needed = [name for name in to_build if not _cached(options.cache, name).exists()]
    _install(needed, say)
    made = []
    try:
        for name in to_build:
            _build(client, name, options.cache, say)
            made.append(name)
    finally:
        # Also after a failure: the caller removes what was built before it.
        if options.made:
            Path(options.made).write_text("".join(f"{name}\n" for name in made))
    return 0


def _is_there(client: Client, name: str) -> bool:
    try:
        with translated("looking for an image"):
            labels = client.api.inspect_image(name)["Config"].get("Labels") or {}
    except ImageNotFound:
        return False
    # A stand-in of an older recipe is built again; a real image has no such label.
    return labels.get(STANDIN, str(RECIPE)) == str(RECIPE)


def _ask(client: Client, names: Sequence[str], say: Callable[[str], None]) -> list[tuple[str, bool]]:
    """Pull all images at once, and return each with whether it came. Raises Unavailable when a registry refuses."""
    if not names:
        return []
    with ThreadPoolExecutor(len(names)) as pool:
        return list(zip(names, pool.map(lambda name: _pulled(client, name, say), names), strict=True))


def _pulled(client: Client, name: str, say: Callable[[str], None]) -> bool:
    began, answered = time.monotonic(), False

    def progress(text: str) -> None:
        nonlocal answered
        answered = True

    def stop() -> bool:
        return time.monotonic() - began > (PULL_SECONDS if answered else ANSWER_SECONDS)

    try:
        pull(client, name, progress, stop)
    except PullStopped:
        if answered:
            raise Unavailable(f"pulling {name} took longer than {PULL_SECONDS:g} s", 1) from None
        return False
    except PullFailed as exc:
        if messages.REGISTRY_UNREACHABLE.search(str(exc)):
            return False
        raise Unavailable(f"the registry refused {name}: {exc}", 1) from exc
    say(f"{name:32} pulled                {time.monotonic() - began:6.1f} s")
    return True


def _install(names: Sequence[str], say: Callable[[str], None]) -> None:
    """Install the programs that the recipes need and this machine lacks. Raises Unavailable (2)."""
    wanted = {program: package for name in names for program, package in RECIPES[name].programs.items()}
    packages = sorted({package for program, package in wanted.items() if shutil.which(program) is None})
    if not packages:
        return
    listed = " ".join(packages)
    reason = f"no registry answers, and stand-ins for {', '.join(names)} need {listed}"
    if shutil.which("apt-get") is None:
        raise Unavailable(
            f"{reason}: install them with your system's package manager, then run this again", 2
        )
    if os.geteuid() != 0:
        raise Unavailable(f"{reason}: run sudo apt-get install {listed}, then run this again", 2)
    say(f"installing Debian's {', '.join(packages)}")
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=120", "-qq"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=900, check=False)
        # If the package list cannot be fetched, an old one may do: the installation decides.
        if done.returncode and command[-1] != "update":
            raise Unavailable(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}", 2)


def _cached(cache: Path, name: str) -> Path:
    return cache / f"{name.replace('/', '_').replace(':', '_')}-{os.uname().machine}-{RECIPE}.tar"


def _build(client: Client, name: str, cache: Path, say: Callable[[str], None]) -> None:
    began, file = time.monotonic(), _cached(cache, name)
    how = "from the cache" if file.exists() else "built"
    if not file.exists():
        _write(RECIPES[name].tree(), file)
    _import(client, name, file)
    is_good = _works(client, name)
    if not is_good and RECIPES[name] is BUSYBOX:
        # The wget of Debian's busybox-static has been seen to crash: use GNU wget with its libraries.
        _write(images_tree.busybox(own_wget=False), file)
        _import(client, name, file)
        how += ", with GNU wget"
        is_good = _works(client, name)
    if not is_good:
        _forget(client, name)
        file.unlink(missing_ok=True)
        raise Unavailable(f"the stand-in for {name} does not work here: pull the real image", 1)
    say(f"{name:32} stand-in {how}   {time.monotonic() - began:6.1f} s")


def _write(tree: images_tree.Tree, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(f".{os.getpid()}")
    tree.write(half)
    half.replace(file)


def _import(client: Client, name: str, file: Path) -> None:
    repository, _, tag = name.rpartition(":")
    changes = [*RECIPES[name].changes, f"LABEL {STANDIN}={RECIPE}"]
    try:
        with translated(f"importing {name}"):
            answer = client.api.import_image(str(file), repository=repository, tag=tag, changes=changes)
    except APIError as exc:
        raise Unavailable(f"{name} cannot be imported: {message_of(exc)}", 1) from exc
    if '"error"' in answer:
        raise Unavailable(f"{name} cannot be imported: {answer.strip()[-300:]}", 1)
    _remove_nameless(client)


def _remove_nameless(client: Client) -> None:
    """Remove stand-ins whose name a newer one took, except those that a container still uses."""
    with translated("removing replaced stand-ins"):
        for image in client.api.images(filters={"label": STANDIN, "dangling": True}):
            with contextlib.suppress(APIError):
                client.api.remove_image(image["Id"])


def _works(client: Client, name: str) -> bool:
    """Run the recipe's check in a container without network, and return whether it succeeded."""
    api = client.api
    with translated(f"trying {name}"):
        made = api.create_container(
            name,
            list(RECIPES[name].check),
            labels={STANDIN: "check"},
            host_config=api.create_host_config(network_mode="none", init=True),
        )
        try:
            api.start(made["Id"])
            return api.wait(made["Id"], timeout=30)["StatusCode"] == 0
        except APIError:
            return False
        finally:
            api.remove_container(made["Id"], force=True)


def _remove(client: Client, names: Sequence[str], say: Callable[[str], None]) -> int:
    left = 0
    with translated("listing the stand-ins"):
        labelled = client.api.images(filters={"label": STANDIN})
    for name in [tag for image in labelled for tag in image.get("RepoTags") or () if tag in names]:
        try:
            with translated(f"removing {name}"):
                _forget(client, name)
            say(f"{name:32} removed")
        except APIError as exc:
            left += 1
            print(f"deploy/images: {name} cannot be removed: {message_of(exc)}", file=sys.stderr)
    _remove_nameless(client)
    return 1 if left else 0


def _forget(client: Client, name: str) -> None:
    client.api.remove_image(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
