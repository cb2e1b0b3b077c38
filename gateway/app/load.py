"""Finds the gateway that a command names: an attribute of a module that its user wrote."""

from __future__ import annotations

import importlib
import os
import sys

from gateway.app.gateway import Gateway
from gateway.domain.errors import ConfigurationError

__all__ = ["load"]


def load(target: str) -> Gateway:
    """
    Import a module, from the working directory too, and give one of its attributes.

    Args:
        target: ``module:attribute``.

    Raises:
        ConfigurationError: If there is no such module or attribute, or it is no Gateway. What
            the module itself raises goes through.
    """
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise ConfigurationError(f"{target!r} has to be MODULE:NAME, such as my_agents:gateway")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0] and error.name != module_name:
            raise
        raise ConfigurationError(
            f"there is no module {module_name!r} here; it is looked for in {os.getcwd()}"
        ) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Gateway):
        raise ConfigurationError(
            f"{target} is {'missing' if found is None else 'no Gateway'}; "
            f"{module_name} should say `{attribute} = Gateway()`"
        )
    return found
