"""What a stranger notices first: schemas with examples, exports that exist, documents that hold."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

import event_schemas

ROOT = Path(__file__).parent.parent
LINES_MAX = 450
ARGUMENTS_MAX = 8

# Folders that hold what we write; everything else at the top is made by tools.
FOLDERS = ("gateway", "event_schemas", "frontend_stub", "tests", ".ci")
SOURCES = sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("event_schemas/**/*.py")])
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(file for dir in FOLDERS for file in ROOT.glob(f"{dir}/**/*.md"))]
)

# Modules that are tested elsewhere, and where.
WITHOUT_TESTS = {
    "gateway/errors.py": "names of domain/errors.py, given again",
    "gateway/execution/service.py": "an interface; the doors are tested through it",
}

NAMELESS_ROOMS = {"base", "common", "helpers", "managers", "misc", "utils"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def written() -> Iterator[tuple[str, str]]:
    """Every text file of ours, by its name."""
    for path in sorted(
        [*ROOT.glob("*"), *(file for dir in FOLDERS for file in ROOT.glob(f"{dir}/**/*"))]
    ):
        if path.is_file() and "__pycache__" not in path.parts:
            try:
                yield named(path), path.read_text()
            except UnicodeDecodeError:
                continue


# --- modules -------------------------------------------------------------------------------------


def test_a_module_says_what_it_is() -> None:
    """Its docstring is the sentence a colleague would say about it; an empty file needs none."""
    modules = {named(path): ast.parse(path.read_bytes()) for path in SOURCES}
    silent = [name for name, it in modules.items() if it.body and not ast.get_docstring(it)]
    assert silent == []


def test_a_module_has_the_names_that_it_exports() -> None:
    for path in SOURCES:
        name = named(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = importlib.import_module(name)
        exported = getattr(module, "__all__", [])
        assert [it for it in exported if not hasattr(module, it)] == [], name
        assert len(set(exported)) == len(exported), name


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    """At 400 lines, look for the second noun inside."""
    lengths = {named(path): path.read_text().count("\n") for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_a_constructor_with_more_than_eight_arguments_says_why() -> None:
    silent = []
    for path in SOURCES:
        for made in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(made, ast.ClassDef):
                for method in made.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                        count = len(method.args.args) + len(method.args.kwonlyargs) - 1
                        told = "More than eight arguments" in (ast.get_docstring(made) or "")
                        if count > ARGUMENTS_MAX and not told:
                            silent.append(f"{named(path)}: {made.name} ({count})")
    assert silent == []


def test_no_module_has_a_name_for_anything() -> None:
    stems = {part.removesuffix(".py") for path in SOURCES for part in path.relative_to(ROOT).parts}
    assert stems & NAMELESS_ROOMS == set()


def test_nothing_is_left_to_be_done_later() -> None:
    # Put together here, so that this file does not find itself.
    later = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")
    found = [
        f"{name}:{number}"
        for name, text in written()
        for number, line in enumerate(text.splitlines(), start=1)
        if later.search(line)
    ]
    assert found == []


@pytest.mark.requirement("FLUX-W19")
def test_no_key_is_in_the_repository() -> None:
    """A key that was committed once can be read by every visitor for ever."""
    key = re.compile("-----BEGIN [A-Z ]*PRIVATE" + " KEY-----")
    assert [name for name, text in written() if key.search(text)] == []


def the_test_of(module: Path) -> Path:
    """Give the place of a module's test file: where the module lies, with its name."""
    inside = module.relative_to(ROOT)
    rooms = inside.parts[1:-1] if inside.parts[0] == "gateway" else inside.parts[:-1]
    return ROOT.joinpath("tests", *rooms, f"test_{module.stem}.py")


def test_every_module_has_the_test_file_of_its_name() -> None:
    """A change to a module begins with a look at its tests."""
    modules = [path for path in SOURCES if not path.stem.startswith("__")]
    missing = {named(path) for path in modules if not the_test_of(path).exists()}
    assert sorted(missing - WITHOUT_TESTS.keys()) == []
    assert sorted(WITHOUT_TESTS.keys() - missing) == []


# --- schemas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", event_schemas.TYPES)
def test_a_schema_has_an_example_that_complies(kind: str) -> None:
    example = event_schemas.example(kind)
    assert example["type"] == kind
    assert event_schemas.validator(kind).violations(example) == []


# --- documents -----------------------------------------------------------------------------------

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"[\w.*-]+(/[\w.*-]+)+/?|[\w-]+\.(md|toml)")
SUFFIX = re.compile(r"\.(py|md|toml|json|js|mjs|html|css)$")


def missing_files(text: str, document: Path) -> list[str]:
    """
    Give the relative links, and the code spans that look like paths of ours, that lead nowhere.

    A path may be meant from the document, from the top, or from inside ``gateway``, as the
    rooms are spoken of. A span with a slash that begins with no folder of ours is something
    else (``text/event-stream``, ``/api/tasks``), unless it ends like a file.
    """
    homes = (document.parent, ROOT, ROOT / "gateway")
    prose = FENCE.sub("", text)
    links = [link.partition("#")[0] for link in LINK.findall(prose)]
    missing = [
        link
        for link in links
        if link and "://" not in link and not (document.parent / link).exists()
    ]
    for span in SPAN.findall(prose):
        path = span.partition("::")[0]
        if not PATH.fullmatch(path):
            continue
        ours = any((home / path.partition("/")[0]).exists() for home in homes)
        if (ours or SUFFIX.search(path)) and not any(any(home.glob(path)) for home in homes):
            missing.append(span)
    return missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_a_document_names_only_files_that_exist(path: Path) -> None:
    assert missing_files(path.read_text(), path) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("[log](CHANGELOG.md#unreleased), [site](https://example.org/a.md), [here](#here)", []),
        ("[old](docs/old.md)", ["docs/old.md"]),
        ("`gateway/domain/` `domain/errors.py` `tests/*/test_*.py` `pyproject.toml`", []),
        ("`tests/test_tidy.py::test_a`", []),
        (
            "`gateway/domain/nothing.py` `domain/nothing.py`",
            ["gateway/domain/nothing.py", "domain/nothing.py"],
        ),
        ("`/api/tasks` `text/event-stream` `make test` `task.create` `await x`", []),
        ("`no_folder/file.py` `GONE.md`", ["no_folder/file.py", "GONE.md"]),
        ("```\n`docs/in_a_session.md`\n```", []),
    ],
)
def test_missing_files_are_found_and_nothing_else(text: str, missing: list[str]) -> None:
    assert missing_files(text, ROOT / "README.md") == missing


VERSION = re.compile(r"## \[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d{2}-\d{2})")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_is_one_that_tools_can_read() -> None:
    """Keep a Changelog 1.1.0: Unreleased first, then versions, newest first."""
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    assert lines[0] == "# Changelog"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]"
    matches = [VERSION.fullmatch(line) for line in headings[1:]]
    versions = [tuple(map(int, found.groups()[:3])) for found in matches if found]
    dates = [date.fromisoformat(found[4]) for found in matches if found]
    assert len(versions) == len(headings) - 1
    assert versions == sorted(versions, reverse=True)
    assert dates == sorted(dates, reverse=True)
    assert {line[4:] for line in lines if line.startswith("### ")} <= KINDS


def test_every_line_of_the_changelog_stands_under_its_kind() -> None:
    kind = ""
    for line in (ROOT / "CHANGELOG.md").read_text().splitlines():
        if line.startswith("## "):
            kind = ""
        elif line.startswith("### "):
            kind = line
        elif line.startswith("- "):
            assert kind, line
            assert len(line) > len("- ")


# --- the run itself ------------------------------------------------------------------------------

NOT_YET = """
import pytest

def test_passes(): ...

@pytest.mark.xfail(reason="not yet", strict=True)
def test_not_yet(): assert False
"""

SKIPPED = """
import pytest

@pytest.mark.skip(reason="no server")
def test_marked(): ...

def test_called(): pytest.skip("no server")
"""

NOT_IMPORTED = 'import pytest; pytest.importorskip("no_such_module")'


def run_pytest(folder: Path, *sources: str, workers: int) -> subprocess.CompletedProcess[str]:
    for number, source in enumerate(sources):
        (folder / f"test_{number}.py").write_text(source)
    command = [sys.executable, "-m", "pytest", f"--rootdir={folder}", "-c", os.devnull]
    command += ["-p", "tests.conftest", "-p", "no:cacheprovider", "-n", str(workers), str(folder)]
    # Of the plugins only the one that takes part here: the others take longer to load than to run.
    command += ["-p", "xdist"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.requirement("WS-W7")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_skipped_test_fails_the_run(tmp_path: Path, workers: int) -> None:
    """A suite that skips when its server is missing is green for the wrong reason."""
    run = run_pytest(tmp_path, NOT_YET, SKIPPED, NOT_IMPORTED, workers=workers)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, run.stdout
    for name in ("test_1.py::test_marked", "test_1.py::test_called", "test_2.py"):
        assert f"FAILED {name} - skipped counts as failed" in run.stdout


def test_an_expected_failure_does_not_fail_the_run(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, NOT_YET, workers=0)
    assert run.returncode == pytest.ExitCode.OK, run.stdout
