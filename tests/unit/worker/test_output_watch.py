"""Watch on output directories: the bounds of a link, and what ends on a full disk, on a small file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from engine.model.states import HoldKind
from engine.runtime.base import Cause, Control, Prepared, PreparedState
from engine.runtime.usage import Usage
from engine.settings import RuntimeSettings
from engine.worker.daemon.disk import Disk
from engine.worker.daemon.output_watch import LOOKS_FOR_OTHERS, OutputWatch, WatchedLink
from tests.support.docker_daemon import an_order
from tests.support.server_faults import small_disk

MEGABYTE = 1 << 20


class Holds:
    """Register of what the watch holds; the node of a real one needs a database."""

    def __init__(self) -> None:
        self.reasons: dict[HoldKind, str] = {}
        self.probe: Any = None

    @property
    def kinds(self) -> tuple[HoldKind, ...]:
        return tuple(self.reasons)

    def hold(self, kind: HoldKind, reason: str, probe: Any) -> None:
        self.reasons[kind], self.probe = reason, probe


class Bench:
    """Watch over links whose output directories are plain directories on a small disk."""

    def __init__(self, data: Path) -> None:
        self.data, self.holds = data, Holds()
        self.disk = Disk(data, 64 << 20)
        runtime = SimpleNamespace(
            output_directory=lambda prepared: data / "work" / prepared.container_id / "out"
        )
        settings = RuntimeSettings(output_bytes=20 * MEGABYTE, output_files=10)
        self.watch = OutputWatch(cast(Any, runtime), settings, self.disk, cast(Any, self.holds))

    def link(self, name: str, megabytes: int = 0) -> WatchedLink:
        """Add a link that has written this much."""
        out = self.data / "work" / name / "out"
        out.mkdir(parents=True)
        if megabytes:
            self.write(name, megabytes)
        prepared = Prepared(an_order("t1"), name, PreparedState.CREATED)
        made = WatchedLink(Control(), lambda: prepared)
        self.watch.add(made)
        return made

    def write(self, name: str, megabytes: int) -> None:
        with (self.data / "work" / name / "out" / "x").open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), megabytes * MEGABYTE)

    def fill(self) -> None:
        """Let a stranger take what is free."""
        about = os.statvfs(self.data)
        with (self.data / "stranger").open("ab") as file:
            if about.f_bavail:
                os.posix_fallocate(file.fileno(), file.tell(), about.f_bavail * about.f_frsize)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with small_disk(tmp_path / "data", 64):
        yield Bench(tmp_path / "data")


def test_only_the_link_beyond_its_bounds_is_ended(bench: Bench) -> None:
    within, over = bench.link("a", 15), bench.link("b", 21)
    bench.watch.look()
    assert (over.control.kill_for, over.is_over) == (Cause.OUTPUT, True)
    assert over.reason.startswith("wrote 21 MB or more to its output directory, of which 20 MB are allowed")
    assert not within.control.changed.is_set() and not within.reason
    assert not bench.holds.kinds and (bench.data / "reserve").exists()


def test_a_link_without_a_container_is_not_counted(bench: Bench) -> None:
    link = WatchedLink(Control(), lambda: None)
    bench.watch.add(link)
    bench.watch.look()
    assert bench.watch.excess(link) == "" and not link.control.changed.is_set()


def test_on_a_full_disk_the_greatest_ends_first_and_the_next_only_when_that_made_no_room(
    bench: Bench,
) -> None:
    small, middle, great = bench.link("a"), bench.link("b", 5), bench.link("c", 15)
    bench.watch.look()
    bench.fill()
    bench.watch.look()
    assert (great.control.kill_for, great.is_over) == (Cause.OUTPUT, False)
    assert "is full: 0 bytes of 64 MB are free, and 15 MB of it is what this task wrote" in great.reason
    assert "is full" in bench.holds.reasons[HoldKind.DATA_DIRECTORY]
    for _ in range(2):
        bench.watch.look()
    assert not middle.control.changed.is_set(), "the first has not ended yet"
    bench.watch.remove(great)
    (bench.data / "work" / "c" / "out" / "x").unlink()
    bench.fill()
    bench.watch.look()
    assert not (bench.data / "reserve").exists(), "the fourth look gives it up"
    assert middle.control.kill_for is Cause.OUTPUT
    assert not small.control.changed.is_set(), "it takes no room"


def test_the_link_of_another_worker_goes_first_for_some_looks(bench: Bench) -> None:
    mine = bench.link("a", 5)
    other = bench.data / "work" / "other" / "out"
    other.mkdir(parents=True)
    with (other / "x").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 10 * MEGABYTE)
    for _ in range(LOOKS_FOR_OTHERS):
        bench.fill()
        bench.watch.look()
        assert not mine.control.changed.is_set()
    bench.fill()
    bench.watch.look()
    assert mine.control.kill_for is Cause.OUTPUT


def test_what_the_worker_may_not_count_goes_first(bench: Bench) -> None:
    closed, great = bench.link("a"), bench.link("b", 15)
    bench.watch.look()
    # Root may count everything: the count of another user is put in its place.
    closed.usage, closed.next_look = Usage(entries=1, closed=1), float("inf")
    bench.fill()
    bench.watch.look()
    assert "that the worker may not read" in closed.reason and not great.control.changed.is_set()


def test_the_probe_of_the_hold_passes_when_there_is_room_again(bench: Bench) -> None:
    bench.watch.look()
    bench.fill()
    bench.watch.look()
    assert "is full" in bench.holds.probe()
    (bench.data / "stranger").unlink()
    assert bench.holds.probe() == ""
