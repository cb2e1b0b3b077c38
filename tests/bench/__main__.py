"""``python -m tests.bench`` (``make bench``): measure, and print the figures."""

from __future__ import annotations

import asyncio

from tests.bench import (
    claims,
    domains,
    error_to_frame,
    fan_out,
    jetstream,
    kills,
    quick_requests,
    redaction,
    snapshots,
)


def main() -> None:
    """Run every benchmark."""
    asyncio.run(error_to_frame.run())
    asyncio.run(fan_out.run())
    asyncio.run(kills.run())
    asyncio.run(domains.run())
    asyncio.run(claims.run())
    asyncio.run(quick_requests.run())
    asyncio.run(snapshots.run())
    redaction.run()
    asyncio.run(jetstream.run())


if __name__ == "__main__":
    main()
