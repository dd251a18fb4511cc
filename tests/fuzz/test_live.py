"""200,000 mutated frames into a real daemon: all are answered, nothing is kept, nobody suffers."""

import asyncio
from pathlib import Path

import pytest

from fuzz.live import fuzz
from support.daemon import running_daemon

FRAMES = 200_000
MAX_GROWTH_BYTES = 10_000_000
TIMEOUT_S = 300
"""For so many frames; conftest multiplies it with `--fuzz-times`."""


@pytest.mark.timeout(TIMEOUT_S)
def test_bad_frames_on_live_sockets_disturb_nobody(tmp_path: Path, times: int, seed: int) -> None:
    with running_daemon(tmp_path) as daemon:
        found = asyncio.run(fuzz(daemon, FRAMES * times, seed))
    assert found.frames >= FRAMES * times
    assert found.told["invalid_frame"] > FRAMES * times // 50
    assert found.told["invalid_message"] > FRAMES * times // 4
    assert found.before is not None
    assert found.after is not None
    assert found.after.rss_bytes - found.before.rss_bytes <= MAX_GROWTH_BYTES
    assert found.after.descriptors == found.before.descriptors
    assert found.after.threads == found.before.threads
