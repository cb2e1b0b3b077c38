"""A scrape as Prometheus reads it: samples by name and labels."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape"]


class Scrape:
    """
    The samples of one scrape.

    Attributes:
        names: The names of all families, counters with their ``_total``.
    """

    def __init__(self, text: str) -> None:
        self.names: set[str] = set()
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            self.names.add(family.name + "_total" * (family.type == "counter"))
            assert family.documentation
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self._values, f"{key} is told twice"
                self._values[key] = sample.value

    def __call__(self, name: str, **labels: Any) -> float:
        """Give the value of ``gateway_NAME``; there has to be one."""
        return self._values[f"gateway_{name}", frozenset(labels.items())]

    def get(self, name: str, **labels: Any) -> float:
        """The same, or 0 where there is none yet."""
        return self._values.get((f"gateway_{name}", frozenset(labels.items())), 0)

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """Give the values of ``gateway_NAME`` by its labels' values, by name."""
        return {
            tuple(value for _, value in sorted(labels)): value
            for (found, labels), value in self._values.items()
            if found == f"gateway_{name}"
        }
