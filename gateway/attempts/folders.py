"""Temporary folders: gone when they can be removed, and looked at when they cannot."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil

__all__ = ["remove_folder"]

# What is still there is counted up to here.
LEFT_MAX = 1000


def remove_folder(folder: pathlib.Path) -> int:
    """
    Remove a folder with everything in it.

    Returns:
        How many files and folders are still there, itself included; 0: it is gone. At most 1,000.
    """
    # The rmtree of older Pythons recurses, and folders may be nested deeper than that allows.
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return 0
    left, unseen = 1, [str(folder)]
    while unseen and left < LEFT_MAX:
        with contextlib.suppress(OSError), os.scandir(unseen.pop()) as entries:
            for entry in entries:
                left += 1
                if entry.is_dir(follow_symlinks=False):
                    unseen.append(entry.path)
    return min(left, LEFT_MAX)
