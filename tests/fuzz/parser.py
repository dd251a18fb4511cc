"""Both ends' parsers under mutated frames, in this process: `python -m fuzz.parser` in `tests/`.

    --frames 1000000   mutated frames
    --seed 1
    --side daemon      or client: whose parser

Prints what was found as one line of JSON. Raises AssertionError, with the seed and the frame in
hexadecimal, where a parser did what it may not:

- let out anything but messages and ProtocolErrors, or yield other than one for a frame;
- answer frames differently when they come glued together, or in pieces;
- not serve a ping behind an error that was not fatal.
"""

import argparse
import ctypes
import gc
import json
from collections import Counter
from collections.abc import Iterator

import psutil

from asrd.errors import ErrorCode, ProtocolError
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection, ServerConnection
from asrd.wire.messages import Ack, Hello, Message, Ping
from fuzz.mutator import Mutator

HELLO = memoryview(encode(Hello(client="fuzz")))
PING = Ping(id="still there")
PING_FRAME = memoryview(encode(PING))
ACK = Ack(stream=1, offset=1)
ACK_FRAME = memoryview(encode(ACK))

TORN_EVERY = 50
GLUED_EVERY = 8
"""One group of frames in so many comes once more, glued together and cut elsewhere."""
GROUP = 8
WARM_UP_SHARE = 0.05

Outcome = tuple[str, object]


class Failed(AssertionError):
    """A parser did what it may not; says with which frame."""

    def __init__(self, what: str, frame: bytes) -> None:
        super().__init__(f"{what}: {frame[:2000].hex()} ({len(frame)} bytes)")


class DaemonSide:
    """A connection that has been greeted, and anew whenever a fatal error has ended one."""

    side = "client"

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._connection = self._greeted()

    def take(self, frame: bytes) -> Outcome:
        """What one frame yields. Raises Failed."""
        try:
            (said,) = self._connection.receive(memoryview(frame))
        except Exception as error:
            raise Failed(f"{error!r} came out, or not one outcome", frame) from error
        outcome = outcome_of(said, frame)
        self.outcomes[outcome[0]] += 1
        if isinstance(said, ProtocolError):
            if said.fatal:
                self._connection = self._greeted()
            elif [*self._connection.receive(PING_FRAME)] != [PING]:
                raise Failed("no service behind it", frame)
        return outcome

    def take_pieces(self, pieces: Iterator[bytes]) -> list[Outcome]:
        """What pieces yield on a connection of their own."""
        connection, found = self._greeted(), []
        for piece in pieces:
            found += [outcome_of(said, piece) for said in connection.receive(memoryview(piece))]
        return found

    def take_torn(self, data: bytes) -> None:
        """Bytes without true frames: whatever they earn, nothing else comes out."""
        connection = self._greeted() if data[0] % 2 else ServerConnection()
        for said in connection.receive(memoryview(data)):
            self.outcomes["torn: " + outcome_of(said, data)[0]] += 1

    def _greeted(self) -> ServerConnection:
        connection = ServerConnection()
        for _ in connection.receive(HELLO):
            pass
        return connection


class ClientSide:
    """The client's connection, anew whenever one was ended by an error."""

    side = "server"

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._connection = ClientConnection()

    def take(self, frame: bytes) -> Outcome:
        """What one frame yields. Raises Failed."""
        (outcome,) = self._receive(self._connection, frame) or [("skipped", None)]
        self.outcomes[outcome[0]] += 1
        if outcome[0].endswith("!"):
            self._connection = ClientConnection()
        elif [*self._connection.receive(ACK_FRAME)] != [ACK]:
            raise Failed("no service behind it", frame)
        return outcome

    def take_pieces(self, pieces: Iterator[bytes]) -> list[Outcome]:
        """What pieces yield on a connection of their own."""
        connection, found = ClientConnection(), []
        for piece in pieces:
            found += self._receive(connection, piece)
            if found and found[-1][0].endswith("!"):
                break
        return found

    def take_torn(self, data: bytes) -> None:
        """Bytes without true frames: whatever they earn, nothing else comes out."""
        for kind, _ in self._receive(ClientConnection(), data):
            self.outcomes["torn: " + kind] += 1

    def _receive(self, connection: ClientConnection, data: bytes) -> list[Outcome]:
        found: list[Outcome] = []
        try:
            for message in connection.receive(memoryview(data)):
                found.append(outcome_of(message, data))
        except ProtocolError as error:
            found.append((f"{error.code}!", str(error)))
        except Exception as error:
            raise Failed(f"{error!r} came out", data) from error
        return found


def outcome_of(said: object, frame: bytes) -> Outcome:
    """A name for what came of a frame, and all of it. Errors that end a connection end with `!`."""
    if isinstance(said, ProtocolError):
        if not isinstance(said.code, ErrorCode):
            raise Failed(f"an error without a code, {said!r}", frame)
        return f"{said.code}{'!' if said.fatal else ''}", (said.message, said.stream)
    if isinstance(said, Message):
        return type(said).__name__, repr(said)  # NaN does not equal itself; its text does
    raise Failed(f"{said!r} came out", frame)


def glued(mutator: Mutator, frames: list[bytes]) -> Iterator[bytes]:
    """The frames as one run of bytes, cut into a few pieces, headers too."""
    data = b"".join(frames)
    begin = 0
    while begin < len(data):
        end = begin + mutator.dice.choice((1, 2, 3, 5, 50, 500, len(data)))
        yield data[begin:end]
        begin = end


def fuzz(side: str, frames: int, seed: int) -> dict[str, object]:
    """Feed that many mutated frames; returns what was found. Raises Failed."""
    end: DaemonSide | ClientSide = DaemonSide() if side == "daemon" else ClientSide()
    mutator = Mutator(end.side, seed)
    for frame in mutator.warm_up():
        end.take(frame)
    settled_bytes = 0
    for number in range(0, frames, GROUP):
        if number >= frames * WARM_UP_SHARE and not settled_bytes:
            settled_bytes = held_bytes()
        group = [mutator.frame() for _ in range(GROUP)]
        alone = [end.take(frame) for frame in group]
        if number % (GROUP * GLUED_EVERY) == 0:
            check_glued(end, mutator, group, alone)
        if number % TORN_EVERY < GROUP:
            end.take_torn(mutator.torn())
    return {
        "frames": frames,
        "growth_bytes": held_bytes() - settled_bytes,
        "outcomes": dict(sorted(end.outcomes.items())),
    }


def held_bytes() -> int:
    """Resident memory, without what was used once and waits to be used again.

    Large frames leave megabytes of that, in which a leak would find room for a long time.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc alone has it
        trim(0)
    return int(psutil.Process().memory_info().rss)


def check_glued(
    end: DaemonSide | ClientSide, mutator: Mutator, group: list[bytes], alone: list[Outcome]
) -> None:
    """Frames that come together, or in pieces, say what they say alone, up to a fatal error."""
    fatal = [at for at, outcome in enumerate(alone) if outcome[0].endswith("!")]
    expected = alone[: fatal[0] + 1] if fatal else alone
    expected = [outcome for outcome in expected if outcome[0] != "skipped"]
    if end.take_pieces(glued(mutator, group)) != expected:
        raise Failed("glued and cut they say something else", b"".join(group))


def main() -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", choices=["daemon", "client"], default="daemon")
    chosen = parser.parse_args()
    try:
        found = fuzz(chosen.side, chosen.frames, chosen.seed)
    except Failed as failure:
        raise SystemExit(f"seed {chosen.seed}: {failure}") from failure
    print(json.dumps({"seed": chosen.seed, **found}))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
