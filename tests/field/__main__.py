"""Run the cases of the field and print id, report, what was and what is (``make field``)."""

from __future__ import annotations

import logging
import sys

from tests.field import names, places
from tests.field.case import Case
from tests.field.rows import ROWS

__all__ = ["CASES", "line", "main"]

CASES: list[Case] = [*names.CASES, *places.CASES]


def line(case: Case, seen: str) -> str:
    """Say of a case what was and what is."""
    right = seen == case.right
    lines = [
        f"{'right' if right else 'WRONG'}  {case.id:<5} {case.report}  {case.title}",
        f"         was  {case.was}",
        f"         is   {seen}",
    ]
    return "\n".join(lines if right else [*lines, f"         not  {case.right}"])


def main() -> int:
    """Print every case; the exit code is 1 when one is wrong."""
    logging.disable()  # what the cases log is not asked for
    wrong = 0
    for case in CASES:
        try:
            seen = case.run()
        except Exception as error:  # noqa: BLE001 - the other cases are run all the same
            seen = f"raised {error!r}"
        wrong += seen != case.right
        print(line(case, seen))  # noqa: T201 - what is asked for
    for row in ROWS:
        print(row.told())  # noqa: T201
    print(f"{len(ROWS)} reports by tests, {len(CASES)} cases, {wrong} wrong")  # noqa: T201
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
