"""Space that a directory takes, counted in bounded time whatever a task left in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.runtime.docker.erase import erase
from engine.runtime.usage import Usage, measure
from tests.unit.runtime.test_erase import make_deep

PLENTY = 1 << 40


def written(path: Path, size: int) -> Path:
    path.write_bytes(b"x" * size)
    return path


def test_files_and_directories_are_counted_and_links_are_not_followed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "a" / "b").mkdir(parents=True)
    written(tmp_path / "outside", 1 << 20)
    written(work / "a" / "b" / "c", 1 << 16)
    (work / "link").symlink_to(tmp_path)
    usage = measure(work, PLENTY, 100)
    assert (usage.entries, usage.is_cut, usage.closed) == (4, False, 0)
    assert 1 << 16 <= usage.bytes < 1 << 18


def test_a_file_with_two_names_counts_once_and_a_hole_takes_nothing(tmp_path: Path) -> None:
    os.link(written(tmp_path / "a", 1 << 20), tmp_path / "b")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(1 << 40)
    assert 1 << 20 <= measure(tmp_path, PLENTY, 100).bytes < 2 << 20


def test_the_count_ends_when_it_has_passed_a_bound(tmp_path: Path) -> None:
    for n in range(20):
        written(tmp_path / str(n), 1 << 16)
    many = measure(tmp_path, PLENTY, 5)
    assert (many.entries, many.is_cut) == (6, True)
    large = measure(tmp_path, 3 << 16, PLENTY)
    assert large.is_cut and 3 << 16 < large.bytes < 6 << 16
    assert not measure(tmp_path, PLENTY, 20).is_cut


def test_a_chain_of_any_depth_is_counted_with_few_open_files(tmp_path: Path) -> None:
    inner = make_deep(tmp_path, 1300)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=inner))
    os.close(inner)
    code = (
        "import resource, sys; from pathlib import Path; from engine.runtime.usage import measure;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16));"
        "usage = measure(Path(sys.argv[1]), 1 << 40, 10_000); print(usage.entries, usage.is_cut)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert erase(tmp_path / "directory", 600.0), "pytest cannot remove so deep a tree"
    assert done.stdout.split() == ["1301", "False"], done.stderr


def test_many_nested_directories_side_by_side_are_given_up(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(80):
        (folder / "other").mkdir()
        folder = folder / "next"
        folder.mkdir()
    # Which of two directories is entered first is up to the filesystem.
    usage = measure(tmp_path, PLENTY, 10_000)
    assert usage.is_cut or usage.entries == 160
    assert len(os.listdir("/proc/self/fd")) < 64, "no directory stays open"


def test_a_directory_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "open").mkdir()
    if os.geteuid() == 0:
        tmp_path.chmod(0o755)
        os.chown(tmp_path / "closed", 65534, 65534)
        code = "import os, sys; os.setgroups([]); os.setgid(1); os.setuid(1); print(measure(Path('.'), 1 << 40, 9))"
        text = f"from pathlib import Path; from engine.runtime.usage import measure; {code}"
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, env={"PYTHONPATH": os.getcwd()},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert "entries=2" in done.stdout and "closed=1" in done.stdout, done.stderr
    else:
        (tmp_path / "closed").chmod(0)
        assert measure(tmp_path, PLENTY, 9).closed == 1


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        measure(tmp_path / "gone", 1, 1)
    assert measure(tmp_path, 1, 1) == Usage()
