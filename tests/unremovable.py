"""Files that nobody can remove, made for a test and removed after it."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest

__all__ = ["Unremovable", "make_removable", "make_unremovable", "unremovable"]

Unremovable = Callable[[pathlib.Path], pathlib.Path]


def make_unremovable(folder: pathlib.Path) -> pathlib.Path:
    """Put a file into a folder that cannot be removed; gives the file."""
    file = folder / "held"
    file.write_text("nobody can remove this")
    if os.geteuid() == 0:
        # Permissions do not hinder root; being immutable does, where the file system has that.
        subprocess.run(["chattr", "+i", str(file)], check=True)
    else:
        folder.chmod(0o500)
    return file


def make_removable(file: pathlib.Path) -> None:
    """Undo it, and remove the folder."""
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-i", str(file)], check=True)
    else:
        file.parent.chmod(0o700)
    shutil.rmtree(file.parent)


@pytest.fixture
def unremovable() -> Iterator[Unremovable]:
    """Makes what cannot be removed, and removes it when the test is over."""
    files: list[pathlib.Path] = []

    def make(folder: pathlib.Path) -> pathlib.Path:
        files.append(make_unremovable(folder))
        return files[-1]

    yield make
    for file in files:
        make_removable(file)
