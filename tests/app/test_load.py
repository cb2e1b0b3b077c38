"""Finding the gateway that a command names, in a module of its user."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from gateway import Gateway
from gateway.app.load import load
from gateway.domain.errors import ConfigurationError

_numbers = itertools.count(1)


@pytest.fixture
def module(process_kept: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working directory; it has a gateway."""
    name = f"agents_of_a_test_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(
        "from gateway import Gateway\ngateway = Gateway()\nnumber = 5\nnothing = None\n"
    )
    (tmp_path / f"{name}_broken.py").write_text("import no_such_module_anywhere\n")
    (tmp_path / f"{name}_failing.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_a_gateway_is_found_in_the_working_directory(module: str) -> None:
    found = load(f"{module}:gateway")
    assert isinstance(found, Gateway)
    assert load(f"{module}:gateway") is found


def test_the_working_directory_is_looked_in_first_and_once(module: str) -> None:
    for _ in range(2):
        load(f"{module}:gateway")
    assert sys.path[0] == str(Path.cwd())
    assert sys.path.count(str(Path.cwd())) == 1


@pytest.mark.parametrize("target", ["agents", "", ":", "agents:", ":gateway"])
def test_a_target_has_a_module_and_a_name(target: str) -> None:
    with pytest.raises(ConfigurationError, match="MODULE:NAME"):
        load(target)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [("none", "is missing"), ("nothing", "is missing"), ("number", "is no Gateway")],
)
def test_an_attribute_that_is_no_gateway_is_named_with_the_remedy(
    module: str, attribute: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        load(f"{module}:{attribute}")
    assert f"{attribute} = Gateway()" in str(refused.value)


@pytest.mark.parametrize("name", ["no_such_module", "no_such.module"])
def test_a_module_that_is_not_there_is_named_with_the_place(module: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match="no module") as refused:
        load(f"{name}:gateway")
    assert str(Path.cwd()) in str(refused.value)


def test_an_error_inside_the_module_is_its_authors_to_see(module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        load(f"{module}_broken:gateway")
    with pytest.raises(ZeroDivisionError):
        load(f"{module}_failing:gateway")
