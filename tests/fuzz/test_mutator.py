"""Mutated frames are the same for the same seed, framed or torn as told, and of every kind."""

from collections import Counter
from itertools import islice
from typing import Any

import msgpack
import pytest

from asrd.errors import ProtocolError
from asrd.framing import HEADER
from asrd.wire.codec import CLIENT_TYPES, MAX_FRAME_BYTES, SERVER_TYPES
from asrd.wire.connection import ServerConnection
from fuzz.mutator import Mutator, _token_places, framed, seeds
from fuzz.parser import HELLO, DaemonSide

SIDES: dict[str, dict[str, type[Any]]] = {"client": CLIENT_TYPES, "server": SERVER_TYPES}


@pytest.mark.parametrize("side", SIDES)
def test_every_type_of_a_side_is_mutated(side: str) -> None:
    assert {name.removeprefix(f"{side}_") for name in seeds(side)} == set(SIDES[side])


@pytest.mark.parametrize("side", SIDES)
def test_the_same_seed_gives_the_same_frames_and_another_others(side: str) -> None:
    one, same, other = Mutator(side, 1), Mutator(side, 1), Mutator(side, 2)
    drawn = [one.frame() for _ in range(500)]
    assert [same.frame() for _ in range(500)] == drawn
    assert [other.frame() for _ in range(500)] != drawn
    assert one.torn() == same.torn()


@pytest.mark.parametrize("side", SIDES)
def test_headers_tell_the_truth_but_for_torn_frames(side: str) -> None:
    mutator = Mutator(side, 3)
    frames = [*mutator.warm_up(), *(mutator.frame() for _ in range(5_000))]
    for frame in frames:
        assert HEADER.unpack_from(frame)[0] == len(frame) - HEADER.size
        assert 1 <= len(frame) - HEADER.size <= MAX_FRAME_BYTES
    assert any(torn not in frames for torn in (mutator.torn() for _ in range(5)))


def test_frames_are_of_every_kind() -> None:
    """Good ones of each type, and each error that the wire gives to a greeted connection."""
    end, mutator = DaemonSide(), Mutator("client", 1)
    for _ in range(30_000):
        end.take(mutator.frame())
    for kind in CLIENT_TYPES.values():
        if kind.__name__ != "Hello":  # said already
            assert end.outcomes[kind.__name__] > 50, kind
    for error in ("invalid_frame!", "invalid_message", "unknown_type"):
        assert end.outcomes[error] > 300, error


def test_torn_frames_earn_the_refusal_of_their_header_among_others() -> None:
    mutator, codes = Mutator("client", 1), Counter[str]()
    for torn in (mutator.torn() for _ in range(1_000)):
        for said in ServerConnection().receive(memoryview(bytes(HELLO) + torn)):
            if isinstance(said, ProtocolError):
                codes[said.code] += said.fatal
    assert codes["frame_too_large"] > 100
    assert codes["invalid_frame"] > 10


def test_what_is_left_out_is_never_drawn() -> None:
    mutator = Mutator("client", 1, gentle=1.0, without=("client_unload",))
    assert not [frame for frame in mutator.warm_up() if b"\xa6unload" in frame]
    assert [frame for frame in Mutator("client", 1).warm_up() if b"\xa6unload" in frame]


def test_tokens_are_found_where_they_begin() -> None:
    fields = {"type": "ping", "id": 2**40}
    payload = msgpack.packb(fields)
    assert [payload[place] for place in _token_places(fields)] == [0x82, 0xA4, 0xA4, 0xA2, 0xCF]


def test_a_frame_of_the_stock_is_framed() -> None:
    mutator = Mutator("client", 1)
    first = next(islice(mutator.warm_up(), 1))
    assert first == framed(first[HEADER.size :])
