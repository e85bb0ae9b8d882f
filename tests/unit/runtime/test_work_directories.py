"""Removal of work directories, whatever a task left in them."""

from __future__ import annotations

import os
from pathlib import Path

from engine.runtime.docker.files import remove_directory


def test_a_tree_of_any_depth_is_removed_and_no_link_is_followed(tmp_path: Path) -> None:
    outside, work = tmp_path / "outside", tmp_path / "work"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    work.mkdir()
    (work / "to a file").symlink_to(outside / "kept")
    (work / "to a directory").symlink_to(outside)
    # Deeper than Python's recursion limit, than the open files of a process, and than the longest path.
    inner = os.open(work, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("directory", dir_fd=inner)
        deeper = os.open("directory", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.symlink(outside, "to the outside", dir_fd=inner)
    os.close(inner)
    assert remove_directory(work)
    assert not work.exists()
    assert (outside / "kept").read_text() == "kept"


def test_many_files_and_directories_side_by_side_are_removed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    for number in range(1500):
        (work / f"d{number}" / "inner").mkdir(parents=True)
        (work / f"d{number}" / "file").touch()
    assert remove_directory(work) and not work.exists()


def test_a_directory_that_is_gone_counts_as_removed(tmp_path: Path) -> None:
    assert remove_directory(tmp_path / "gone")


def test_a_link_in_place_of_a_work_directory_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tmp_path / "work").symlink_to(tmp_path / "outside")
    assert not remove_directory(tmp_path / "work")
    assert (tmp_path / "outside" / "kept").exists()
