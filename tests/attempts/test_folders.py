"""Folders are removed whole, and what stays is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.attempts import folders
from gateway.attempts.folders import remove_folder
from tests.unremovable import Unremovable


def test_a_folder_is_removed_with_everything_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "file").write_text("x")
    assert remove_folder(folder) == 0
    assert not folder.exists()


def test_a_folder_that_is_gone_already_is_gone(tmp_path: Path) -> None:
    assert remove_folder(tmp_path / "never") == 0


def test_a_link_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "kept")
    assert remove_folder(tmp_path / "folder") == 0
    assert (tmp_path / "kept").exists()


def test_what_stays_is_counted_with_the_folders_around_it(
    tmp_path: Path, unremovable: Unremovable
) -> None:
    """The folder itself, one in it, and the file there that cannot be removed."""
    inner = tmp_path / "folder" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "folder" / "file").write_text("x")
    unremovable(inner)
    assert remove_folder(tmp_path / "folder") == 3


@pytest.mark.parametrize(("bound", "counted"), [(2, 2), (3, 3), (4, 3)])
def test_what_stays_is_counted_up_to_a_bound(
    tmp_path: Path,
    unremovable: Unremovable,
    monkeypatch: pytest.MonkeyPatch,
    bound: int,
    counted: int,
) -> None:
    monkeypatch.setattr(folders, "LEFT_MAX", bound)
    inner = tmp_path / "folder" / "inner"
    inner.mkdir(parents=True)
    unremovable(inner)
    assert remove_folder(tmp_path / "folder") == counted
