"""Plain numbers become Prometheus families."""

from asrd.scheduler.measures import Histogram, OfKinds
from asrd.server.families import (
    by_kind,
    by_name,
    counter,
    counters,
    gauge,
    gauges,
    histograms,
    summed,
)
from support.exposition import Scrape, text_of


def test_each_kind_is_told_as_what_it_is() -> None:
    values = Histogram((0.5, 1.0))
    for value in (0.5, 0.75, 3.0):
        values.add(value)
    seen = Scrape(
        text_of(
            [
                gauge("asrd_a", "A.", 1.5),
                counter("asrd_b", "B.", 2),
                gauges("asrd_c", "C.", ("x", "y"), {("1", "2"): 3.0}),
                counters("asrd_d", "D.", ("x",), by_name({"1": 4.0})),
                histograms("asrd_e", "E.", ("x",), {("1",): values}),
                histograms("asrd_f", "F.", ("x",), {}),
            ]
        )
    )
    assert seen.value("asrd_a") == 1.5
    assert seen.value("asrd_b_total") == 2
    assert seen.value("asrd_c", x="1", y="2") == 3
    assert seen.value("asrd_d_total", x="1") == 4
    buckets = {dict(of)["le"]: value for of, value in seen.values("asrd_e_bucket").items()}
    assert buckets == {"0.5": 1, "1.0": 2, "+Inf": 3}
    assert (seen.value("asrd_e_sum", x="1"), seen.value("asrd_e_count", x="1")) == (4.25, 3)
    assert seen.families["asrd_f"].type == "histogram"
    assert not seen.families["asrd_f"].samples


def test_finals_and_partials_are_told_by_a_label() -> None:
    kinds = OfKinds((1.0,))
    assert by_kind({"mic": kinds}) == {
        ("mic", "final"): kinds.finals,
        ("mic", "partial"): kinds.partials,
    }


def test_what_shares_its_labels_is_added_up() -> None:
    assert summed([(("a",), 1), (("b",), 2), (("a",), 3)]) == {("a",): 4, ("b",): 2}
