r"""
Escapes: a text as it was before an address, HTML, JSON or Python escaped its letters.

``password%3Dx``, ``&quot;token&quot;:&quot;x&quot;`` and ``\u0022secret\u0022`` are looked at as
what they mean. A place in that view is told as the place in the text that it comes from, so that
what is found there can be taken out here. Only lines that have escapes are in the view.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right

__all__ = ["LEVELS_MAX", "View", "view_of"]

# What is escaped may be escaped again in another way; so many times it is undone.
LEVELS_MAX = 3

# What was escaped once more in the same way is undone at once: %2522, &amp;quot;, \\u0022.
_ESCAPE = re.compile(
    r"(?:%(?:25){0,8}[0-9A-Fa-f]{2})+"
    r"|&(?:amp;){0,8}(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});"
    r"|\\{1,32}(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})"
)
_PERCENT = re.compile(r"%(?:25)*([0-9A-Fa-f]{2})")


class View:
    """
    The lines of a text that have escapes, without them.

    Attributes:
        text: What they mean.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        # Where each piece begins here, and where it comes from.
        self._begins: list[int] = []
        self._spans: list[tuple[int, int]] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def add(self, piece: str, start: int, end: int) -> None:
        """Add what a part of the text means."""
        if piece:
            self._pieces.append(piece)
            self._begins.append(self._length)
            self._spans.append((start, end))
            self._length += len(piece)

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Tell where something in the view comes from; of an escape the whole."""
        return self._at(start)[0], self._at(end - 1)[1]

    def _at(self, place: int) -> tuple[int, int]:
        part = bisect_right(self._begins, place) - 1
        begin, (start, end) = self._begins[part], self._spans[part]
        if len(self._pieces[part]) != end - start:
            return start, end
        return start + place - begin, start + place - begin + 1


def view_of(text: str) -> View | None:
    """Undo the escapes of a text; None: it has none."""
    view: View | None = None
    kept = line_end = 0
    for found in _ESCAPE.finditer(text):
        start, end = found.span()
        if view is None:
            view = View()
        if start >= line_end:
            # Another line; those between have no escapes.
            view.add(_plain(text[kept:line_end]), kept, line_end)
            kept = max(line_end, text.rfind("\n", line_end, start) + 1)
            line_end = text.find("\n", end) + 1 or len(text)
        view.add(_plain(text[kept:start]), kept, start)
        view.add(_meant(found[0]), start, end)
        kept = end
    if view is not None:
        view.add(_plain(text[kept:line_end]), kept, line_end)
    return view


def _plain(text: str) -> str:
    # In a query a plus sign is a blank.
    return text.replace("+", " ")


def _meant(escape: str) -> str:
    if escape[0] == "%":
        return bytes.fromhex("".join(_PERCENT.findall(escape))).decode("utf-8", "replace")
    if escape[0] == "&":
        return html.unescape("&" + escape[1:].removesuffix(";").rpartition("amp;")[2] + ";")
    letter = chr(int(escape.lstrip("\\")[1:], 16))
    return letter if letter.isprintable() else " "
