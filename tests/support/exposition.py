"""A scrape as Prometheus reads it."""

import re
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

ADDED = {"instance", "job"}
"""Labels that Prometheus adds to what it scrapes."""


def text_of(families: Iterable[Metric]) -> str:
    """Families as `/metrics` writes them."""

    class Collected(CollectorRegistry):
        def collect(self) -> Iterator[Metric]:
            return iter(families)

    return generate_latest(Collected()).decode()


class Scrape:
    """The families of one answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.families: dict[str, Metric] = {}
        for family in text_string_to_metric_families(text):
            assert family.name not in self.families, family.name
            self.families[family.name] = family
        self.labels: dict[str, set[str]] = {}
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                self.labels.setdefault(sample.name, set()).update(sample.labels)
                self._values[sample.name, frozenset(sample.labels.items())] = sample.value

    def value(self, name: str, **labels: str) -> float:
        """One sample."""
        return self._values[name, frozenset(labels.items())]

    def values(self, name: str) -> dict[frozenset[tuple[str, str]], float]:
        """Every sample of that name, by its labels."""
        return {of: value for (named, of), value in self._values.items() if named == name}


def series_of(query: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric that a PromQL query names, with the labels in its matchers."""
    for name, matchers in re.findall(r"\b(asrd_\w+)(?:\{([^}]*)\})?", query):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))


def grouping_of(query: str) -> set[str]:
    """The labels that a query groups by."""
    groups = re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", query)
    return {label.strip() for group in groups for label in group.split(",") if label.strip()}


def missing_from(scrape: Scrape, query: str) -> list[str]:
    """What a query names that the scrape has not: metrics, and labels of each of its metrics."""
    missing = []
    for name, matched in series_of(query):
        there = scrape.labels.get(name)
        if there is None:
            missing.append(name)
        else:
            needed = (matched | grouping_of(query)) - there - ADDED
            missing += [f"{name}{{{label}}}" for label in sorted(needed)]
    return missing
