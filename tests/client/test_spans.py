"""Spans, against a set of their positions."""

from hypothesis import given
from hypothesis import strategies as st

from asrd.client.spans import MAX_KEPT, Spans

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12)


@given(added=SPANS, start=st.integers(0, 60), length=st.integers(0, 60))
def test_each_position_is_new_once(added: list[tuple[int, int]], start: int, length: int) -> None:
    spans, known = Spans(), set[int]()
    for begin, size in added:
        new = spans.add(begin, begin + size)
        positions = [position for part in new for position in range(*part)]
        assert sorted(positions) == sorted(set(range(begin, begin + size)) - known)
        assert all(part_start < part_end for part_start, part_end in new)
        known |= set(range(begin, begin + size))
    assert spans.measure(start, start + length) == len(known & set(range(start, start + length)))
    assert all(a[1] < b[0] for a, b in zip(spans._spans, spans._spans[1:], strict=False))


def test_no_more_than_so_many_are_kept() -> None:
    spans = Spans()
    for start in range(0, 10 * MAX_KEPT, 2):
        spans.add(start, start + 1)
    assert len(spans._spans) == MAX_KEPT
