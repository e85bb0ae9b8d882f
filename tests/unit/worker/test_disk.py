"""Disk of the data directory: when it is full, and the reserve, on a small file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.worker.daemon.disk import Disk
from tests.support.server_faults import small_disk

MEGABYTES = 32
#: A sixteenth of the disk.
RESERVE = MEGABYTES << 16


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", MEGABYTES):
        yield tmp_path / "disk"


def fill(directory: Path, leave: int) -> Path:
    """Fill the disk with a file, up to some free bytes."""
    about = os.statvfs(directory)
    file = directory / "filler"
    with file.open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, about.f_bavail * about.f_frsize - leave)
    return file


def test_the_reserve_is_a_part_of_a_small_disk_and_really_there(directory: Path) -> None:
    disk = Disk(directory, 64 << 20)
    free = os.statvfs(directory).f_bavail
    disk.renew_reserve()
    about = (directory / "reserve").stat()
    assert (about.st_size, about.st_blocks * 512, about.st_mode & 0o777) == (RESERVE, RESERVE, 0o600)
    assert (free - os.statvfs(directory).f_bavail) * os.statvfs(directory).f_frsize >= RESERVE
    assert disk.why_low() == disk.why_not_roomy() == ""


def test_a_full_disk_is_told_and_the_reserve_makes_room_once(directory: Path) -> None:
    disk = Disk(directory, 64 << 20)
    disk.renew_reserve()
    filler = fill(directory, 0)
    assert disk.why_low() == f"the disk of the data directory {directory} is full: 0 bytes of 32 MB are free"
    assert disk.give_up_reserve()
    assert disk.why_low() == ""
    assert "was full: 2.0 MB are free, 5.0 MB are needed" in disk.why_not_roomy()
    assert not disk.give_up_reserve()
    disk.renew_reserve()
    assert not (directory / "reserve").exists(), "there is no room for it"
    filler.unlink()
    assert disk.why_not_roomy() == ""
    disk.renew_reserve()
    assert (directory / "reserve").exists()


def test_a_disk_without_inodes_is_full(tmp_path: Path) -> None:
    directory = tmp_path / "few"
    with small_disk(directory, MEGABYTES, inodes=100):
        disk = Disk(directory, 0)
        assert disk.why_low() == ""
        for number in range(50):
            (directory / str(number)).touch()
        assert "of 100 inodes are free" in disk.why_low()
        disk.renew_reserve()
        assert not (directory / "reserve").exists(), "0 bytes: no reserve"


def test_the_outputs_of_all_links_here_are_listed(directory: Path) -> None:
    (directory / "work" / "a" / "out").mkdir(parents=True)
    (directory / "work" / "b").mkdir()
    assert Disk(directory, 0).outputs() == [directory / "work" / "a" / "out"]
