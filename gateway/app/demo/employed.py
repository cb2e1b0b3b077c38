"""
``gateway work`` for as long as whoever started it lives: at the end of stdin it ends, too.

A demonstration that is killed leaves nobody behind.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

__all__: list[str] = []

# Then it is not waited for any more, in seconds: it may have news for a gateway that is gone.
END_S = 8.0


def _end_with_stdin() -> None:
    os.read(sys.stdin.fileno(), 1)  # Nothing is ever written there.
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(END_S)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
