"""Held audio: found by position, let go of from its beginning."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asrd.audio import Samples
from asrd.session.held import HeldAudio


def numbered(start: int, end: int) -> Samples:
    """Samples whose values are their positions."""
    return np.arange(start, end, dtype=np.float32)


def held(*spans: tuple[int, int]) -> HeldAudio:
    audio = HeldAudio()
    for start, end in spans:
        audio.append(start, numbered(start, end))
    return audio


def test_a_cut_within_a_piece_and_over_pieces_gives_just_its_samples() -> None:
    audio = held((100, 200), (200, 300), (300, 400))
    assert audio.cut(120, 130).tolist() == list(range(120, 130))
    assert audio.cut(150, 350).tolist() == list(range(150, 350))
    assert audio.cut(100, 400).tolist() == list(range(100, 400))


def test_what_is_not_held_is_left_out() -> None:
    audio = held((100, 200), (250, 300))
    assert audio.cut(0, 1000).tolist() == [*range(100, 200), *range(250, 300)]
    assert audio.cut(200, 250).tolist() == []
    assert len(HeldAudio().cut(0, 10)) == 0


def test_empty_pieces_are_not_held() -> None:
    audio = held((5, 5))
    assert len(audio) == 0
    audio.append(5, numbered(5, 8))
    assert audio.cut(0, 10).tolist() == [5, 6, 7]


def test_pieces_are_let_go_of_once_all_of_them_is_behind() -> None:
    audio = held((0, 100), (100, 200), (200, 300))
    audio.forget_before(199)
    assert len(audio) == 200
    audio.forget_before(200)
    assert len(audio) == 100
    audio.forget_before(10**12)
    assert len(audio) == 0
    assert len(audio.cut(0, 300)) == 0


def test_pieces_between_two_positions_are_let_go_of_and_their_neighbours_kept() -> None:
    audio = held(*((start, start + 100) for start in range(0, 600, 100)))
    audio.forget_between(150, 450)  # the pieces at either edge are partly outside
    assert audio.cut(0, 600).tolist() == [*range(200), *range(400, 600)]
    assert len(audio) == 400
    audio.append(600, numbered(600, 700))
    assert audio.cut(550, 650).tolist() == list(range(550, 650))
    audio.forget_between(700, 600)
    assert len(audio) == 500


@given(
    lengths=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60)), max_size=20),
    edges=st.tuples(st.integers(-10, 2000), st.integers(-10, 2000)),
    forgotten=st.integers(0, 2000),
)
def test_cuts_agree_with_one_long_array(
    lengths: list[tuple[int, int]], edges: tuple[int, int], forgotten: int
) -> None:
    """Pieces with holes between them; what was asked to be forgotten may or may not be there."""
    audio, position = HeldAudio(), 0
    model: list[int] = []
    for hole, length in lengths:
        position += hole
        audio.append(position, numbered(position, position + length))
        model += range(position, position + length)
        position += length
    start, end = max(0, min(edges)), max(edges)
    assert audio.cut(start, end).tolist() == [at for at in model if start <= at < end]
    audio.forget_before(forgotten)
    kept = audio.cut(0, 10**6).tolist()
    assert len(audio) == len(kept) <= len([at for at in model if at >= forgotten]) + 59
    assert [at for at in kept if at >= forgotten] == [at for at in model if at >= forgotten]
