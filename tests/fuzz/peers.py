"""Peers in this process, with streams behind them, under mutated frames.

What is answered is held against what the wire alone says of the same bytes; what is logged may
tell of no bug. Whoever calls has a running event loop.
"""

from collections import Counter

import structlog

from asrd.errors import ProtocolError
from asrd.providers.registry import Registry
from asrd.wire.codec import encode
from asrd.wire.connection import ServerConnection
from asrd.wire.messages import Audio, Error, Hello, Open, Ping, Pong
from fuzz.mutator import Mutator
from support.room import UTTERANCE, Guest, Room, settle

BUGS = {"connection_failed", "check_failed", "stream_failed", "task_failed"}
"""Lines of the log that only a bug writes."""

WIRE_CODES = ("frame_too_large", "invalid_frame", "unknown_type")
"""Errors that the wire alone gives, and nothing behind it."""

WITHOUT = ("client_unload",)
"""An order that the daemon obeys, and rightly: the model would be gone more often than not."""

BEGINNING = b"".join(
    encode(message)
    for message in (
        Hello(client="fuzz"),
        Open(stream=1, source="file"),
        Audio(stream=1, data=UTTERANCE, offset=0),
    )
)
VISIT = 25
"""Frames after which a connection is left, if none has ended it."""
SETTLE_EVERY = 4
CHECK_EVERY = 40
SECONDS_PER_VISIT = 2.0
"""Of the clock that stands still otherwise: sessions expire."""


class Failed(AssertionError):
    """A peer did what it may not; says after which bytes."""


def earned(data: bytes) -> tuple[Counter[str], list[str]]:
    """The errors that the wire alone gives to a conversation, by code, and the fatal ones."""
    found = list(ServerConnection().receive(memoryview(data)))
    errors = [said for said in found if isinstance(said, ProtocolError)]
    return Counter(said.code for said in errors), [said.code for said in errors if said.fatal]


def check_answers(data: bytes, told: list[Error]) -> None:
    """Every bad frame of `data` was answered, and the fatal one by the last words.

    Raises:
        Failed: one was not, or there were answers of the wire to what was in order.
    """
    codes, fatal = earned(data)
    heard = Counter(error.code for error in told)
    is_answered = (
        all(heard[code] == codes[code] for code in WIRE_CODES)
        and heard["invalid_message"] >= codes["invalid_message"]
        and [error.code for error in told if error.fatal] == fatal
        and not heard["internal"]
    )
    if not is_answered:
        raise Failed(f"earned {codes}, fatal {fatal}; told {heard}: {data[-3000:].hex()}")


async def fuzz(registry: Registry, frames: int, seed: int) -> Counter[str]:
    """Visit after visit of mutated frames; returns how often each error was told. Raises Failed."""
    room, mutator = Room(registry), Mutator("client", seed, gentle=0.9, without=WITHOUT)
    told: Counter[str] = Counter()
    sent = visits = 0
    while sent < frames:
        with structlog.testing.capture_logs() as logged:
            guest, said = room.guest(), bytearray(BEGINNING)
            guest.say_bytes(BEGINNING)
            for _ in range(VISIT):
                frame = mutator.frame()
                guest.say_bytes(frame)
                said += frame
                sent += 1
                if guest.channel.is_closed:
                    break
            if visits % SETTLE_EVERY == 0:
                await settle()
            _end(guest, bytes(said))
            told.update(error.code for error in guest.told(Error))
            room.clock.advance(SECONDS_PER_VISIT)
            room.sessions.expire()
            for stand_in in (room.model, room.voice):
                stand_in.made.clear()  # with their audio, gigabytes by the end
            if visits % CHECK_EVERY == 0:
                room.hub.check()
            visits += 1
        bugs = [line for line in logged if line["event"] in BUGS]
        if bugs:
            raise Failed(f"logged {bugs[:3]} after {said.hex()}")
    await room.hub.stop()
    return told


def _end(guest: Guest, said: bytes) -> None:
    if not guest.channel.is_closed:
        guest.say(Ping(id="still there"))
        if guest.told(Pong)[-1:] != [Pong(id="still there")]:
            raise Failed(f"no service behind {said.hex()}")
    check_answers(said, guest.told(Error))
    guest.peer.lost()
