"""``python -m tests.bench`` (``make bench``): measure, and print the figures."""

from __future__ import annotations

import asyncio
import sys

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
    """Run every benchmark; ends with code 1 if a promise was not kept."""
    asyncio.run(error_to_frame.run())
    asyncio.run(fan_out.run())
    asyncio.run(kills.run())
    not_kept = asyncio.run(domains.run())
    asyncio.run(claims.run())
    asyncio.run(quick_requests.run())
    asyncio.run(snapshots.run())
    redaction.run()
    asyncio.run(jetstream.run())
    sys.exit("".join(f"not kept: {promise}\n" for promise in not_kept) or None)


if __name__ == "__main__":
    main()
