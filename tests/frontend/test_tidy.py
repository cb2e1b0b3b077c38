"""The frontend's files as a stranger finds them: short, in their folders, named in one way."""

from __future__ import annotations

import itertools
import posixpath
import re
from pathlib import Path

import pytest

FRONTEND = Path(__file__).parent.parent.parent / "frontend_stub"
COLUMNS_MAX = 100
LINES_BELOW = 250
ENTRY = "client/gateway-client.js"


def named(path: Path) -> str:
    return path.relative_to(FRONTEND).as_posix()


def written(*suffixes: str) -> list[Path]:
    return sorted(path for suffix in suffixes for path in FRONTEND.glob(f"**/*{suffix}"))


FILES = written(".js", ".css", ".html")
MODULES = written(".js")


# --- size ----------------------------------------------------------------------------------------


def wide_lines(text: str) -> list[int]:
    lines = enumerate(text.splitlines(), start=1)
    return [number for number, line in lines if len(line) > COLUMNS_MAX]


def test_a_line_fits_into_a_hundred_columns() -> None:
    assert [named(path) for path in FILES if wide_lines(path.read_text())] == []


def test_a_line_of_a_hundred_and_one_columns_is_found() -> None:
    assert wide_lines(f"{'x' * 100}\n{'x' * 101}\n") == [2]


def test_a_file_is_short_enough_to_be_read_at_once() -> None:
    """At 200 lines, look for the second noun inside."""
    lengths = {named(path): path.read_text().count("\n") for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines >= LINES_BELOW} == {}


# --- folders -------------------------------------------------------------------------------------

COMMENT = re.compile(r"/\*.*?\*/|(?<!:)//[^\n]*", re.DOTALL)
IMPORTED = re.compile(r"""\b(?:from|import)\s*\(?\s*["']([^"']+)["']""")


def imports(name: str, text: str) -> set[str]:
    """Give what a module imports: names below the frontend, or the address as it is written."""
    folder = posixpath.dirname(name)
    return {
        posixpath.normpath(posixpath.join(folder, address)) if address.startswith(".") else address
        for address in IMPORTED.findall(COMMENT.sub("", text))
    }


def strayed_imports(name: str, text: str) -> list[str]:
    """Give the imports that cross a wall of the frontend in the wrong place."""
    if name.startswith("client/"):
        allowed = re.compile(r"client/[\w-]+\.js")
    elif name.startswith("page/"):
        allowed = re.compile(rf"page/[\w-]+\.js|{re.escape(ENTRY)}")
    else:
        allowed = re.compile(re.escape(ENTRY))
    return sorted(target for target in imports(name, text) if not allowed.fullmatch(target))


def test_a_module_imports_only_what_its_folder_may() -> None:
    """The client knows no page. The page, as any frontend, knows the client by its entry."""
    texts = {named(path): path.read_text() for path in MODULES}
    strayed = {name: strayed_imports(name, text) for name, text in texts.items()}
    assert {name: targets for name, targets in strayed.items() if targets} == {}


@pytest.mark.parametrize(
    ("name", "text", "strayed"),
    [
        ("client/a.js", 'import { b } from "./b.js";', []),
        ("client/a.js", 'import { h } from "../page/dom.js";', ["page/dom.js"]),
        ("client/a.js", 'import "https://cdn.test/b.js";', ["https://cdn.test/b.js"]),
        ("page/a.js", 'import {\n  b,\n} from "../client/gateway-client.js";', []),
        ("page/a.js", 'export { b } from "../client/reducer.js";', ["client/reducer.js"]),
        ("page/a.js", 'await import("../client/codes.js")', ["client/codes.js"]),
        ("reducer.js", 'export { b } from "./page/store.js";', ["page/store.js"]),
    ],
)
def test_an_import_over_the_wall_is_found(name: str, text: str, strayed: list[str]) -> None:
    assert strayed_imports(name, text) == strayed


def test_every_file_of_the_page_is_named_in_its_document() -> None:
    """A file that is not named loads late, or not at all and can go."""
    document = (FRONTEND / "index.html").read_text()
    loaded = r'<(?:script|link)\b[^>]*(?:src|href)="static/((?:client|page)/[^"]+)"'
    told = re.findall(loaded, document)
    needed = [named(path) for path in FILES if "/" in named(path)]
    assert sorted(told) == sorted(needed)


# --- names ---------------------------------------------------------------------------------------

DECLARED = re.compile(r"\b(?:const|let|var|function|class)\s+(\w+)|#(\w+)")
UNPACKED = re.compile(r"\b(?:const|let|var)\s*([{\[][^=;]*?[}\]])\s*(?:=|of\b)")
PARAMETERS = re.compile(
    r"\bfunction\s*\w*\(([^()]*(?:\([^()]*\)[^()]*)*)\)"  # function f(…)
    r"|\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*=>"  # (…) =>
    r"|\b(\w+)\s*=>"  # x =>
    r"|^ +(?:async )?#?(?!if|for|while|switch|catch)\w+\(([^()]*)\) \{$",  # a method
    re.MULTILINE,
)
SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[A-Za-z0-9]+)+")


def bound_names(pattern: str) -> list[str]:
    """Give the names that a list of parameters or an unpacking declares, without its fields."""
    without_defaults = re.sub(r"=[^,{}\[\]]*", "", pattern)
    parts = re.split(r"[,{}\[\]()]", without_defaults)
    return [part.rpartition(":")[2].strip(" .\n") for part in parts]


def snake_case_names(text: str) -> list[str]:
    """Give the names that a module declares in the way of the wire's fields."""
    code = COMMENT.sub("", text)
    names = [name for found in DECLARED.findall(code) for name in found]
    patterns = UNPACKED.findall(code)
    patterns += [pattern for found in PARAMETERS.findall(code) for pattern in found]
    names += [name for pattern in patterns for name in bound_names(pattern)]
    return sorted({name for name in names if SNAKE_CASE.fullmatch(name)})


def test_a_module_declares_its_names_in_camel_case() -> None:
    """Fields of data stay as they are on the wire; they are not declared but given."""
    names = {named(path): snake_case_names(path.read_text()) for path in MODULES}
    assert {name: found for name, found in names.items() if found} == {}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("const task_id = 1;", ["task_id"]),
        ("let { task_id, a: b_c } = event;", ["b_c", "task_id"]),
        ("for (const [task_id, task] of tasks) {", ["task_id"]),
        ("export async function fill_in(link) {", ["fill_in"]),
        ("function f(one, seen_at = null) {", ["seen_at"]),
        ("list.map(({ task_id }) => 1)", ["task_id"]),
        ("list.map(next_item => 1)", ["next_item"]),
        ("  async take(next_item) {", ["next_item"]),
        ("  #live_since = null;", ["live_since"]),
        ("const QUEUE_MAX = 1; const { task_id: taskId } = event;", []),
        ("f({ task_id: taskId }, event.task_id); // const a_b", []),
        ("({ base_ms: baseMs, random = Math.random }) => baseMs", []),
        ("  if (event.task_id) {", []),
    ],
)
def test_a_name_in_snake_case_is_found(text: str, names: list[str]) -> None:
    assert snake_case_names(text) == names


# --- comments ------------------------------------------------------------------------------------

EXPORTED = re.compile(r"export (?:async )?(?:function|class|const|let) (\w+)")


def silent_exports(text: str) -> list[str]:
    """Give what a module exports without a comment that ends on the line above."""
    lines = ["", *text.splitlines()]
    return [
        found[1]
        for before, line in itertools.pairwise(lines)
        if (found := EXPORTED.match(line)) and not before.endswith("*/")
    ]


def test_an_export_has_a_comment() -> None:
    silent = {named(path): silent_exports(path.read_text()) for path in MODULES}
    assert {name: found for name, found in silent.items() if found} == {}


def test_an_export_without_a_comment_is_found() -> None:
    text = "/** Yes. */\nexport const A = 1;\n\nexport class B {\nexport async function c() {\n"
    assert silent_exports(text) == ["B", "c"]


def test_a_file_begins_with_what_it_is() -> None:
    files = [*MODULES, *written(".css")]
    assert [named(path) for path in files if not path.read_text().startswith("/*")] == []
