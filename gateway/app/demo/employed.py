"""
``gateway work`` that ends with the process that started it: it watches for the end of stdin.

A demonstration that is killed leaves no worker behind.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

__all__: list[str] = []

# How long the worker has to end, in seconds; it may be trying to report to a gateway that is gone.
END_S = 8.0


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)  # Returns at the end of stdin; nothing is ever written there.
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(END_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
