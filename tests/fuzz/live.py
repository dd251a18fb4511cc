"""A real daemon under mutated frames: `python -m fuzz.live` in `tests/`.

    --frames 200000   mutated frames, over as many connections as it takes, several at a time
    --seed 1

Each connection says hello, then bad frames that do not end it, a ping, and at last one that may.
All answers are held against what the wire alone says of the same bytes. Somebody speaks all the
while, and reads what is read in peace.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from asrd.errors import ProtocolError
from asrd.wire.codec import encode
from asrd.wire.connection import ClientConnection, ServerConnection
from asrd.wire.messages import Audio, Error, Hello, Open, Ping, Pong, ServerMessage
from benchmarks.soaking.speech import Speech
from benchmarks.soaking.talker import Talker
from faults.scenes import PHRASE, reading
from fuzz.mutator import Mutator
from fuzz.peers import BUGS, WITHOUT, Failed, check_answers
from support.census import Census, census
from support.daemon import Daemon, running_daemon

HELLO = encode(Hello(client="fuzz"))
PING = encode(Ping(id="still there"))
PONG = Pong(id="still there")
STREAM = encode(Open(stream=1, source="file")) + encode(Audio(stream=1, data=PHRASE[20_000:24_000]))
STREAM_EVERY = 10
TORN_EVERY = 10
MAX_TORN_BYTES = 4_096
"""So much is read whole before it is refused: what is left unread would cost the last answers."""

VISIT = 25
AT_A_TIME = 8
WARM_UP_SHARE = 0.1
SPEED = 3.0
PATIENCE_S = 60.0


@dataclass
class Found:
    """What was seen so far."""

    frames: int = 0
    connections: int = 0
    told: Counter[str] = field(default_factory=Counter)
    before: Census | None = None
    after: Census | None = None


class Visits:
    """Connection after connection, `AT_A_TIME` side by side."""

    def __init__(self, path: Path, mutator: Mutator, found: Found) -> None:
        self._path = path
        self._mutator = mutator
        self._found = found
        self._wire = Wire()

    async def until(self, frames: int) -> None:
        """Send on until so many were sent. Raises Failed."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(self._some(frames))

    async def _some(self, frames: int) -> None:
        while self._found.frames < frames:
            said = self._conversation()
            async with asyncio.timeout(PATIENCE_S):
                heard = await self._say(said)
            if PONG not in heard:
                raise Failed(f"no service behind {said[-3000:].hex()}")
            told = [message for message in heard if isinstance(message, Error)]
            check_answers(said, told)
            self._found.told.update(error.code for error in told)

    def _conversation(self) -> bytes:
        """Frames that leave a connection open, a ping, then the first that does not."""
        mutator, found = self._mutator, self._found
        found.connections += 1
        mild, fatal = [], b""
        for frame in (mutator.frame() for _ in range(VISIT)):
            if not self._wire.is_fatal(frame):
                mild.append(frame)
            elif not fatal:
                fatal = frame
        if found.connections % TORN_EVERY == 0 and len(torn := mutator.torn()) < MAX_TORN_BYTES:
            fatal = torn
        found.frames += len(mild) + bool(fatal)
        stream = STREAM if found.connections % STREAM_EVERY == 0 else b""
        return b"".join((HELLO, stream, *mild, PING, fatal))

    async def _say(self, said: bytes) -> list[ServerMessage]:
        reader, writer = await asyncio.open_unix_connection(self._path)
        wire = ClientConnection()
        heard: list[ServerMessage] = []
        try:
            writer.write(said)
            writer.write_eof()
            while data := await reader.read(2**16):
                heard += wire.receive(memoryview(data))
        except ConnectionError as error:
            raise Failed(f"{error!r} instead of answers to {said[-3000:].hex()}") from error
        finally:
            writer.close()
        return heard


class Wire:
    """What the wire alone says of frames: one greeted connection, until a frame ends it."""

    def __init__(self) -> None:
        self._connection: ServerConnection | None = None

    def is_fatal(self, frame: bytes) -> bool:
        """Whether it ends a connection."""
        if self._connection is None:
            self._connection = ServerConnection()
            frame = HELLO + frame
        outcomes = self._connection.receive(memoryview(frame))
        has_ended = any(isinstance(said, ProtocolError) and said.fatal for said in outcomes)
        if has_ended:
            self._connection = None
        return has_ended


async def fuzz(daemon: Daemon, frames: int, seed: int) -> Found:
    """Send that many frames while somebody speaks. Raises Failed."""
    found = Found()
    polite = Speech(1, "mic", None)
    talker = Talker(daemon.path, [polite], SPEED)
    talking = asyncio.create_task(talker.run())
    visits = Visits(daemon.path, Mutator("client", seed, gentle=0.8, without=WITHOUT), found)
    await visits.until(round(frames * WARM_UP_SHARE))
    found.before = await _settled(daemon)
    await visits.until(frames)
    found.after = await _settled(daemon, found.before)
    polite.end()
    async with asyncio.timeout(PATIENCE_S):
        await talking
    again = Speech(1, "file", polite.length_bytes)
    await Talker(daemon.path, [again], SPEED).run()
    polite.compare(reading(again.segments), is_exact=True)
    if polite.wrongs or not polite.segments or talker.connections != 1:
        raise Failed(f"whoever spoke was disturbed: {polite.wrongs}")
    bugs = [line for line in daemon.events if line["event"] in BUGS]
    if bugs or daemon.strays:
        raise Failed(f"the log tells of {bugs[:3]} {daemon.strays[:20]}")
    return found


async def _settled(daemon: Daemon, before: Census | None = None) -> Census:
    """What the daemon holds once the connections are gone: descriptors as before, if ever."""
    end_s = time.monotonic() + PATIENCE_S / 10
    held = census(daemon.pid)
    while time.monotonic() < end_s:
        await asyncio.sleep(0.2)
        last, held = held, census(daemon.pid)
        if held.descriptors == (last if before is None else before).descriptors:
            break
    return held


def main() -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_daemon(Path(folder)) as daemon:
        found = asyncio.run(fuzz(daemon, chosen.frames, chosen.seed))
    if found.before is None or found.after is None:
        raise SystemExit("nothing was measured")
    shown = {
        "seed": chosen.seed,
        "frames": found.frames,
        "connections": found.connections,
        "growth_bytes": found.after.rss_bytes - found.before.rss_bytes,
        "descriptors": [found.before.descriptors, found.after.descriptors],
        "threads": [found.before.threads, found.after.threads],
        "told": dict(sorted(found.told.items())),
    }
    print(json.dumps(shown))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
