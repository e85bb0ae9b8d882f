"""Removal of work directories, whatever a task left in them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.runtime.docker import erase as erasing
from engine.runtime.docker.erase import erase

_LONG = 600.0


def make_deep(folder: Path, depth: int) -> int:
    """Make directories inside one another; return the descriptor of the innermost."""
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("directory", dir_fd=inner)
        deeper = os.open("directory", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    return inner


def test_a_tree_of_any_depth_is_removed_and_no_link_is_followed(tmp_path: Path) -> None:
    outside, work = tmp_path / "outside", tmp_path / "work"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    work.mkdir()
    (work / "to a file").symlink_to(outside / "kept")
    (work / "to a directory").symlink_to(outside)
    # Deeper than Python's recursion limit, than the open files of a process, and than the longest path.
    inner = make_deep(work, 1300)
    os.symlink(outside, "to the outside", dir_fd=inner)
    os.close(inner)
    assert erase(work, _LONG)
    assert not work.exists()
    assert (outside / "kept").read_text() == "kept"


def test_many_files_and_directories_side_by_side_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "_BATCH", 50)
    work = tmp_path / "work"
    for number in range(120):
        (work / f"d{number}" / "inner").mkdir(parents=True)
        (work / f"d{number}" / "file").touch()
    assert erase(work, _LONG) and not work.exists()


def test_a_directory_that_is_gone_counts_as_removed(tmp_path: Path) -> None:
    assert erase(tmp_path / "gone", _LONG)


def test_a_link_in_place_of_a_work_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tmp_path / "work").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="work"):
        erase(tmp_path / "work", _LONG)
    assert (tmp_path / "outside" / "kept").exists()


def test_the_time_of_a_call_is_bounded_and_the_next_calls_go_on(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "out" / "inner").mkdir(parents=True)
    for number in range(300):
        (work / "out" / f"file {number}").touch()
        (work / "out" / f"directory {number}").mkdir()
    began, calls = time.monotonic(), 1
    while not erase(work, 0.002):
        calls += 1
        assert calls < 10_000
    assert not work.exists()
    assert calls > 3, f"{time.monotonic() - began:.3f} s in {calls} calls"


#: A program that removes as a user who owns the files; prints what erase did.
_AS_ANOTHER_USER = """
import os, sys
from pathlib import Path
from engine.runtime.docker.erase import erase
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    print(erase(Path(sys.argv[1]), 600.0))
except OSError as exc:
    print(exc.strerror, exc.filename)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
class TestAnotherUser:
    def erased_by_nobody(self, folder: Path) -> str:
        """Remove as the user nobody; return what the program printed."""
        for parent in folder.parents[:-1]:
            if parent != Path("/tmp"):
                parent.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", _AS_ANOTHER_USER, str(folder)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @pytest.fixture
    def theirs(self, tmp_path: Path) -> Path:
        """Return a directory, in a parent of theirs, that belongs to nobody."""
        folder = tmp_path / "parent" / "work"
        folder.mkdir(parents=True)
        for path in (folder.parent, folder):
            os.chown(path, 65534, 65534)
        return folder

    def test_directories_that_nobody_may_read_are_removed(self, theirs: Path) -> None:
        closed = theirs / "closed" / "further" / "inside"
        closed.mkdir(parents=True)
        (closed / "file").touch()
        for path in (closed / "file", closed, closed.parent, closed.parent.parent):
            os.chown(path, 65534, 65534)
            path.chmod(0)
        assert self.erased_by_nobody(theirs) == "True"
        assert not theirs.exists()

    def test_what_belongs_to_another_user_does_not_keep_the_rest(self, theirs: Path) -> None:
        foreign = theirs / "a foreign one"
        foreign.mkdir()
        (foreign / "file").touch()
        for number in range(20):
            path = theirs / f"own {number}"
            path.mkdir()
            os.chown(path, 65534, 65534)
            (path / "file").touch()
        assert self.erased_by_nobody(theirs) == "Permission denied file"
        assert [path.name for path in theirs.iterdir()] == ["a foreign one"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
def test_a_mount_point_does_not_keep_the_rest(tmp_path: Path) -> None:
    work = tmp_path / "work"
    mounted = work / "out" / "mounted"
    mounted.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", str(mounted)], check=False, timeout=10)
    if done.returncode:
        pytest.skip("mounting is not possible here")
    try:
        for number in range(20):
            (work / "out" / f"directory {number}").mkdir()
            (work / "out" / f"file {number}").touch()
        with pytest.raises(OSError, match="busy"):
            erase(work, _LONG)
        assert [path.name for path in (work / "out").iterdir()] == ["mounted"]
    finally:
        subprocess.run(["umount", str(mounted)], check=True, timeout=10)
    assert erase(work, _LONG) and not work.exists()


def test_without_free_descriptors_the_rest_waits(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "directory").mkdir(parents=True)
    (work / "file").touch()
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(tmp_path, os.O_RDONLY)
    os.close(lowest)
    try:
        # Two descriptors are free: for the directory, and for the list of its entries.
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 2, usual[1]))
        with pytest.raises(OSError, match="Too many open files"):
            erase(work, _LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
    assert erase(work, _LONG) and not work.exists()
