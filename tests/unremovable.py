"""Files that cannot be removed, made for a test and removed after it."""

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
    """Put a file that cannot be removed into ``folder``, and give the file."""
    file = folder / "held"
    file.write_text("this cannot be removed")
    if os.geteuid() == 0:
        # Permissions do not stop root; an immutable file does, where the file system has them.
        subprocess.run(["chattr", "+i", str(file)], check=True)
    else:
        folder.chmod(0o500)
    return file


def make_removable(file: pathlib.Path) -> None:
    """Undo ``make_unremovable``, and remove the file's folder."""
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-i", str(file)], check=True)
    else:
        file.parent.chmod(0o700)
    shutil.rmtree(file.parent)


@pytest.fixture
def unremovable() -> Iterator[Unremovable]:
    """Give ``make_unremovable``; what it makes is removed when the test is over."""
    files: list[pathlib.Path] = []

    def make(folder: pathlib.Path) -> pathlib.Path:
        files.append(make_unremovable(folder))
        return files[-1]

    yield make
    for file in files:
        make_removable(file)
