"""``python -m tests.bench`` (``make bench``): measure, and print the figures."""

from __future__ import annotations

import asyncio

from tests.bench import error_to_frame


def main() -> None:
    """Run every benchmark."""
    asyncio.run(error_to_frame.run())


if __name__ == "__main__":
    main()
