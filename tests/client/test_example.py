"""The example that the README gives of the Python client runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from asrd.wire.messages import Close
from support.fake_daemon import HANG_UP, FakeDaemon, closed, listening_in_thread, segment

README = Path(__file__).parents[2] / "README.md"
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


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
