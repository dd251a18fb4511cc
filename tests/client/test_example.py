"""The example that the README gives of the Python client runs as it stands there."""

import subprocess
import sys
from pathlib import Path

from asrd.wire.messages import Close
from support.fake_daemon import HANG_UP, FakeDaemon, closed, listening_in_thread, segment

EXAMPLE = """
import asyncio
import sys
from pathlib import Path

from asrd.client import StateChange, connect
from asrd.wire.messages import Segment


def tell(change: StateChange) -> None:
    print(change.state, change.reason, file=sys.stderr)


async def main(socket: Path, audio: Path) -> None:
    async with connect(socket) as client:
        client.on_state(tell)
        stream = await client.open_stream(source="file")

        async def send() -> None:
            with audio.open("rb") as pcm:  # 16 kHz, mono, 16-bit
                while block := pcm.read(32000):
                    await stream.send(block)
            await stream.close()

        sending = asyncio.create_task(send())
        async for event in stream:
            if isinstance(event, Segment):
                print(event.text)
        await sending


asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_it_prints_what_was_said_though_the_connection_broke(tmp_path: Path) -> None:
    audio, daemon = tmp_path / "speech.raw", FakeDaemon()
    audio.write_bytes(bytes(range(256)) * 1000)
    daemon.rules[Close] = lambda _: daemon.once("breaks", [HANG_UP], [segment(), closed()])
    with listening_in_thread(daemon, tmp_path / "s"):
        done = subprocess.run(
            [sys.executable, "-c", EXAMPLE, tmp_path / "s", audio],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    assert done.stdout == "hello there\n"
    assert done.stderr.splitlines() == [
        "reconnecting the connection to the daemon broke",
        "connected ",
    ]
    assert daemon.audio[1] == audio.read_bytes()
