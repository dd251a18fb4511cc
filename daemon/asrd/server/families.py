"""Prometheus families of plain numbers, by the values of their labels."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from asrd.scheduler.measures import Histogram, OfKinds

Labels = tuple[str, ...]


def gauge(name: str, meaning: str, value: float) -> Metric:
    """What goes up and down, without labels."""
    return GaugeMetricFamily(name, meaning, value=value)


def counter(name: str, meaning: str, value: float) -> Metric:
    """What only grows, without labels. Its name is given without `_total`."""
    return CounterMetricFamily(name, meaning, value=value)


def gauges(name: str, meaning: str, labels: Labels, values: Mapping[Labels, float]) -> Metric:
    """What goes up and down, by label values."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def counters(name: str, meaning: str, labels: Labels, values: Mapping[Labels, float]) -> Metric:
    """What only grows, by label values. Its name is given without `_total`."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family


def histograms(
    name: str, meaning: str, labels: Labels, values: Mapping[Labels, Histogram]
) -> Metric:
    """Values counted by size, by label values."""
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for of, histogram in values.items():
        buckets = [(_bound(bound), count) for bound, count in histogram.cumulated()]
        family.add_metric(of, buckets, histogram.sum)
    return family


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(bound)


def by_kind(values: Mapping[str, OfKinds]) -> dict[Labels, Histogram]:
    """Histograms by what they are of and whether finals or partials."""
    found: dict[Labels, Histogram] = {}
    for of, kinds in values.items():
        found[of, "final"], found[of, "partial"] = kinds.finals, kinds.partials
    return found


def by_name(values: Mapping[str, float]) -> dict[Labels, float]:
    """Values of one label."""
    return {(name,): value for name, value in values.items()}


def summed(values: Iterable[tuple[Labels, float]]) -> dict[Labels, float]:
    """Values by labels, those of the same labels added up."""
    sums: defaultdict[Labels, float] = defaultdict(float)
    for of, value in values:
        sums[of] += value
    return sums
