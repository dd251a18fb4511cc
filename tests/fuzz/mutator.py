"""Frames that are not as they should be, by the hundred thousand: the same for the same seed.

Two kinds of harm. Values that msgpack can express and the protocol does not allow are made once,
for every key of every message, into a stock of some thousands; most of them earn an error and leave
the connection open. Harm to the bytes of any of those is done anew for each frame and mostly ends
the connection. Both are cheap: a frame costs a few microseconds.
"""

import random
import struct
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import msgpack

from asrd.framing import HEADER
from asrd.wire.codec import MAX_FRAME_BYTES, MAX_NESTED_ITEMS, encode
from wire.golden_messages import MESSAGES
from wire.make_golden import FRAMES, golden

NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 0.5, -0.0, 1e308)
ODD_FLOATS = (float("nan"), float("inf"), float("-inf"))
TEXTS = ("", "x", "echo", "x" * 600, "x" * 5000, "\0", "Größe, 大きさ, \U0001f600", "hello")
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    b"",
    b"\x00",
    bytes(70_000),
    [],
    [[]],
    list(range(300)),
    {},
    {"a": {"b": {}}},
    {1: 2, 2**64 - 1: 0},
    {-1: -1},
    {"1": 1},
    dict.fromkeys(range(5000), 0),
    msgpack.ExtType(5, b"ext"),
    msgpack.Timestamp(2**33, 5),
)
KEYS = (1, -1, None, True, 1.5, b"type", "Type", "stream\0", "", "type ")

RAW_VALUES = (
    b"\xa4\xff\xfe\xfd\xfc",  # strings that are not UTF-8: no text, cut off, a surrogate
    b"\xa2\xe2\x82",
    b"\xa3\xed\xa0\x80",
    b"\xd9\x02\xc3\x28",
    b"\xc1",  # never used
    b"\xca\x7f\xc0\x00\x01",  # NaN in four bytes
    b"\xc7\x00\x00",  # extensions, the last a timestamp of a wrong length
    b"\xd4\xff\x00",
    b"\xc7\x05\xff\x00\x00\x00\x00\x00",
    b"\xda\xff\xff",  # lengths that never come
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05",
    b"\xdc\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xde\xff\xff",
    b"\xdf\xff\xff\xff\xff",
)
"""Whole values, well formed and not, that no packer writes."""

TYPE_BYTES = bytes((0x00, 0x7F, 0x80, 0x81, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE1), 0xFF))


def seeds(side: str) -> dict[str, dict[str, Any]]:
    """The golden messages that a `client` or a `server` says, by name, as maps."""
    return {name: fields for name, fields in FRAMES.items() if name.startswith(side)}


def framed(payload: bytes) -> bytes:
    """A payload behind its true length."""
    return HEADER.pack(len(payload)) + payload


def packed(items: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A map of keys and values that are packed already, doubled keys and all."""
    pairs = list(items)
    return b"\xde" + struct.pack(">H", len(pairs)) + b"".join(key + value for key, value in pairs)


def with_odd_values(fields: dict[str, Any]) -> Iterator[bytes]:
    """The message with each key left out, doubled, renamed, or given each odd value."""
    pairs = {key: (msgpack.packb(key), msgpack.packb(value)) for key, value in fields.items()}
    odd = [msgpack.packb(value) for value in (*NUMBERS, *ODD_FLOATS, *TEXTS, *OTHERS)]
    for name, (key, value) in pairs.items():
        others = [pair for other, pair in pairs.items() if other != name]
        yield packed(others)
        yield packed([*others, (key, value), (key, b"\xc0")])
        for packed_key in map(msgpack.packb, KEYS):
            yield packed([*others, (packed_key, value)])
            yield packed([*others, (key, value), (packed_key, value)])
        for harm in (*odd, *RAW_VALUES):
            yield packed([*others, (key, harm)])
    for harm in odd:
        yield packed([*pairs.values(), (msgpack.packb("unknown"), harm)])


def deep_ones() -> Iterator[bytes]:
    """Payloads of nests and of counts that announce what never comes."""
    for depth in (10, 500, 511, 512, 1023, 1024, 1025, 5_000, 100_000):
        for opening in (b"\x91", b"\x81\xa1a", b"\x81\x91", b"\xdc\x00\x01", b"\x82\xa1a\xc0\xa1b"):
            yield opening * depth
            yield opening * depth + b"\xc0"
            yield b"\x82\xa4type\xa4ping\xa2id" + opening * depth + b"\xc0"
    for count in (MAX_NESTED_ITEMS - 1, MAX_NESTED_ITEMS, MAX_NESTED_ITEMS + 1, 2**16 - 1):
        size = struct.pack(">H", count)
        for depth in (1, 30, 900):
            yield (b"\xdc" + size) * depth
            yield (b"\xde" + size + b"\xa1a") * depth
        yield b"\x82\xa4type\xa4ping\xa2id\xdc" + size + b"\xc0" * count
    yield b"\x81\xa4type\xc6" + struct.pack(">I", MAX_FRAME_BYTES - 100) + bytes(2**16)
    yield packed([(msgpack.packb("type"), msgpack.packb("x" * 900_000))])
    yield bytes(MAX_FRAME_BYTES)


class Mutator:
    """An endless source of frames for what one side hears.

    `gentle` is the share of frames whose bytes are left as they are in the stock.
    """

    def __init__(
        self, side: str, seed: int, *, gentle: float = 0.5, without: Iterable[str] = ()
    ) -> None:
        self.dice = random.Random(seed)
        spoken = {name: each for name, each in seeds(side).items() if name not in without}
        good = [golden(name)[HEADER.size :] for name in spoken]
        good += [encode(MESSAGES[name])[HEADER.size :] for name in spoken]
        self._small = good + [
            payload
            for fields in spoken.values()
            for payload in with_odd_values(fields)
            if len(payload) < 2_000
        ]
        self.heavy = [
            payload
            for fields in spoken.values()
            for payload in with_odd_values(fields)
            if len(payload) >= 2_000
        ] + list(deep_ones())
        self._good = good
        self._tokens = [_token_places(fields) for fields in spoken.values()] * 2
        self._gentle = gentle

    HEAVY_EVERY = 1_000
    """One frame in so many is from the stock of large ones."""

    def warm_up(self) -> Iterator[bytes]:
        """Every frame of the stock, once."""
        yield from map(framed, self._small)
        yield from map(framed, self.heavy)

    def frame(self) -> bytes:
        """A frame whose header tells its true length."""
        dice = self.dice.random
        if dice() < 1 / self.HEAVY_EVERY:
            return framed(self.heavy[int(dice() * len(self.heavy))])
        payload = self._small[int(dice() * len(self._small))]
        if dice() >= self._gentle:
            payload = self._harmed(payload) or b"\xc0"
        return HEADER.pack(len(payload)) + payload

    def torn(self) -> bytes:
        """Bytes whose header lies, or that have none: where the next frame begins nobody knows."""
        dice = self.dice
        body = self.frame()[HEADER.size :]
        match dice.randrange(5):
            case 0:
                return HEADER.pack(dice.choice((0, MAX_FRAME_BYTES + 1, 2**31, 2**32 - 1))) + body
            case 1:
                return HEADER.pack(dice.getrandbits(32)) + body
            case 2:
                return HEADER.pack(max(1, len(body) + dice.choice((-3, -1, 1, 3, 200)))) + body
            case 3:
                return dice.randbytes(dice.randrange(1, 300))
            case _:
                return HEADER.pack(len(body))[: dice.randrange(4)] + body

    def _harmed(self, payload: bytes) -> bytes:
        dice = self.dice.random
        size = len(payload)
        place, other = int(dice() * size), int(dice() * size)
        match int(dice() * 9):
            case 0:  # one bit
                bit = payload[place] ^ 1 << int(dice() * 8)
                return payload[:place] + bytes((bit,)) + payload[place + 1 :]
            case 1:  # one byte that says what follows
                kind = TYPE_BYTES[int(dice() * len(TYPE_BYTES))]
                return payload[:place] + bytes((kind,)) + payload[place + 1 :]
            case 2:  # just such a byte, of a good message, is another
                which = int(dice() * len(self._good))
                places, payload = self._tokens[which], self._good[which]
                place = places[int(dice() * len(places))]
                kind = TYPE_BYTES[int(dice() * len(TYPE_BYTES))]
                return payload[:place] + bytes((kind,)) + payload[place + 1 :]
            case 3:  # cut
                return payload[:place]
            case 4:  # a piece left out
                return payload[:place] + payload[place + 1 + int(dice() * 20) :]
            case 5:  # a piece said twice
                begin, end = min(place, other), max(place, other)
                return payload[:end] + payload[begin:]
            case 6:  # two messages in one
                second = self._small[int(dice() * len(self._small))]
                return payload[:place] + second[int(dice() * len(second)) :]
            case 7:  # garbage put in
                return payload[:place] + self.dice.randbytes(1 + int(dice() * 8)) + payload[place:]
            case _:  # nothing but garbage
                return self.dice.randbytes(1 + int(dice() * 100))


def _token_places(fields: dict[str, Any]) -> list[int]:
    """Where in a packed map its keys and values begin, and the map itself."""
    sizes = [len(msgpack.packb(token)) for pair in fields.items() for token in pair]
    first = len(msgpack.packb(fields)) - sum(sizes)
    return [0, *accumulate(sizes[:-1], initial=first)]
