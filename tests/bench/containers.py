"""Rows with containers, beside the same containers by `docker run --rm`."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from docker import APIClient

from tests.bench.figures import OURS, Row, take_turns
from tests.bench.ground import IMAGE, SLOTS, Ground, await_empty, await_ends
from tests.support.docker_daemon import require_docker
from tests.support.fleet import Fleet

ONE = f"name: one\nimage: {IMAGE}\ncmd: ['true']\n".encode()
CHAIN = (
    f"name: chain\nimage: {IMAGE}\ncmd: ['true']\nvolumes: [/data]\n"
    f"pre: [{{image: {IMAGE}, cmd: ['true']}}]\npost: [{{image: {IMAGE}, cmd: ['true']}}]\n"
).encode()
#: Pause before a measurement of an idle slot, in which the leftovers of the last one are removed.
_REST_SECONDS = 0.4
_IN_A_ROW = 5
_SINGLES = 32
_CHAINS = 16
_numbers = itertools.count()


def one(ground: Ground) -> Row:
    """Measure one warm container on an idle slot."""
    goal = 1.0 if ground.sandbox == "none" else 0.6
    row = Row("one", "one warm container, POST -> end event, idle slot", "ms", "docker run --rm", goal)
    with ground.served("one", SLOTS) as (fleet, caller):
        api = require_docker().api
        ways = {
            OURS: lambda: _rested(fleet, lambda: caller.to_end(ONE)),
            "docker run --rm": lambda: _rested(fleet, _docker_run),
            "floor: create, start, wait": lambda: _rested(fleet, lambda: _floor(api)),
        }
        if ground.sandbox == "none":
            return take_turns(row, ways, ground.n)
        # To tell our share from the namespace's, the same is measured for a container that joins one.
        with _sandbox(api) as joined:
            words = ("docker", "run", "--rm", "--network", joined, IMAGE, "true")
            ways["docker run --rm --network container:X"] = lambda: _rested(fleet, lambda: _timed(*words))
            ways["floor: the same, joined"] = lambda: _rested(fleet, lambda: _floor(api, network=joined))
            return take_turns(row, ways, ground.n)


@contextmanager
def _sandbox(api: APIClient) -> Iterator[str]:
    """Start a container whose network others join."""
    made = api.create_container_from_config({"Image": IMAGE, "Cmd": ["sleep", "86400"]})["Id"]
    try:
        api.start(made)
        yield f"container:{made}"
    finally:
        api.remove_container(made, force=True)


def row_of_five(ground: Ground) -> Row:
    """Measure five warm containers, back to back."""
    what = f"the same back to back, each of {_IN_A_ROW} in a row"
    row = Row("back-to-back", what, "ms", "docker run --rm", 1.0)
    with ground.served("row", SLOTS) as (fleet, caller):
        ways = {
            OURS: lambda: _rested(
                fleet, lambda: sum(caller.to_end(ONE) for _ in range(_IN_A_ROW)) / _IN_A_ROW
            ),
            "docker run --rm": lambda: _rested(
                fleet, lambda: sum(_docker_run() for _ in range(_IN_A_ROW)) / _IN_A_ROW
            ),
        }
        return take_turns(row, ways, ground.n)


def chain(ground: Ground) -> Row:
    """Measure three containers that share a volume."""
    goal = 1.0 if ground.sandbox == "none" else 0.6
    row = Row("chain", "pre -> main -> post with a shared volume, idle", "ms", "3 x docker run --rm -v", goal)
    with ground.served("chain", SLOTS) as (fleet, caller):
        api = require_docker().api
        ways = {
            OURS: lambda: _rested(fleet, lambda: caller.to_end(CHAIN)),
            "3 x docker run --rm -v": lambda: _rested(fleet, _docker_chain),
            "floor: 3 x create, start, wait": lambda: _rested(fleet, lambda: _floor_chain(api)),
        }
        return take_turns(row, ways, ground.n)


def singles(ground: Ground) -> Row:
    """Measure containers a second, one for each task."""
    what = f"containers a second at {SLOTS} slots, {_SINGLES} tasks of one, until all are removed"
    row = Row("singles", what, "/s", "xargs -P 8 docker run --rm", 1.5 if ground.sandbox == "slot" else 0.95)
    script = f"seq {_SINGLES} | xargs -P {SLOTS} -I@ docker run --rm {IMAGE} true"
    return _throughput(ground, row, ONE, (_SINGLES, 1), script)


def chains(ground: Ground) -> Row:
    """Measure containers a second, three for each task."""
    what = f"containers a second at {SLOTS} slots, {_CHAINS} chains of three, until all are removed"
    goal = {"pod": 1.3, "slot": 1.5, "none": 0.95}[ground.sandbox]
    row = Row("chains", what, "/s", "xargs -P 8 of 3 x docker run", goal)
    run = f"docker run --rm -v bench-$0:/data {IMAGE} true"
    each = f"docker volume create bench-$0 && {run} && {run} && {run} && docker volume rm bench-$0"
    script = f"seq {_CHAINS} | xargs -P {SLOTS} -I@ sh -c '{each}' @"
    return _throughput(ground, row, CHAIN, (_CHAINS, 3), script)


def _throughput(ground: Ground, row: Row, text: bytes, size: tuple[int, int], script: str) -> Row:
    count, links = size
    with ground.served(row.name, SLOTS) as (fleet, caller):
        sent = itertools.count(1)
        to_end: list[float] = []

        def ours() -> float:
            began = time.perf_counter()
            for _ in range(count):
                caller.post(text)
            await_ends(fleet, next(sent) * count)
            to_end.append(count * links / (time.perf_counter() - began))
            await_empty(fleet)
            return count * links / (time.perf_counter() - began)

        def theirs() -> float:
            return count * links * 1000 / _timed("sh", "-ec", script)

        take_turns(row, {OURS: ours, row.anchor: theirs}, ground.n)
    row.series[f"{OURS}, until all ended"] = to_end[1:]
    return row


def _rested(fleet: Fleet, way: object) -> float:
    await_empty(fleet)
    time.sleep(_REST_SECONDS)
    return float(way())  # type: ignore[operator]


def _timed(*words: str) -> float:
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=300)
    return (time.perf_counter() - began) * 1000


def _docker_run() -> float:
    return _timed("docker", "run", "--rm", IMAGE, "true")


def _docker_chain() -> float:
    name = f"bench-{next(_numbers)}"
    run = f"docker run --rm -v {name}:/data {IMAGE} true"
    return _timed(
        "sh", "-ec", f"docker volume create {name} && {run} && {run} && {run} && docker volume rm {name}"
    )


def _floor(api: APIClient, volume: str = "", network: str = "default") -> float:
    """Measure Docker's API alone, without removal: nothing can be faster on this daemon."""
    began = time.perf_counter()
    host = {"NetworkMode": network, **({"Binds": [f"{volume}:/data"]} if volume else {})}
    made = api.create_container_from_config({"Image": IMAGE, "Cmd": ["true"], "HostConfig": host})["Id"]
    api.start(made)
    assert api.wait(made)["StatusCode"] == 0
    took = (time.perf_counter() - began) * 1000
    api.remove_container(made)
    return took


def _floor_chain(api: APIClient) -> float:
    name = f"bench-floor-{next(_numbers)}"
    began = time.perf_counter()
    api.create_volume(name)
    took = (time.perf_counter() - began) * 1000 + sum(_floor(api, name) for _ in range(3))
    api.remove_volume(name)
    return took
