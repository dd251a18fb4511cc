"""Programmes played into a daemon in real time, and what came of each."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrd.audio import SAMPLE_RATE
from asrd.session.endpoint import WINDOW_SAMPLES
from asrd.wire import messages as wire
from benchmarks.common import FRAME_S, Samples, frames
from benchmarks.crowd import Crowd, Feed
from benchmarks.streamed.material import Programme, Take, whole_frames

WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE
LIVE_ENDPOINTING_S = 0.5
ENDPOINT_S = -(-round(LIVE_ENDPOINTING_S * SAMPLE_RATE) // WINDOW_SAMPLES) * WINDOW_S
"""The same in whole windows of the detector: an endpoint falls at the end of one."""
FILE_ENDPOINTING_S = 0.8
"""That of `asrd transcribe`."""

TAIL_S = 1.5
"""Silence behind a programme: its last utterance ends as the others do."""

STEP_S = 2.0
"""Streams begin within this time, so that they do not speak in step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What came of programmes that were played side by side, one a stream."""

    programmes: Sequence[Programme]
    feeds: Sequence[Feed]
    decode_s: float
    finals_decoded: int
    dropped_s: float

    @property
    def audio_s(self) -> float:
        """Of all streams."""
        return sum(feed.sent_s for feed in self.feeds)

    @property
    def lag_s(self) -> float:
        """How late the player itself was at the worst."""
        return max(feed.lag_s for feed in self.feeds)


async def play(
    path: Path,
    programmes: Sequence[Programme],
    *,
    are_partials_wanted: bool,
    are_words_wanted: bool,
) -> Played:
    """Play each programme as a live stream with a connection of its own."""
    wishes = {
        "source": "mic",
        "partials": are_partials_wanted,
        "words": are_words_wanted,
        "endpointing_ms": round(LIVE_ENDPOINTING_S * 1000),
    }
    async with AsyncExitStack() as stack:
        crowds = [await stack.enter_async_context(Crowd.at(path)) for _ in programmes]
        before = await crowds[0].ask(wire.GetStats(), wire.Stats)
        spoken = await asyncio.gather(
            *(
                _speak(crowd, each, number * STEP_S / len(programmes), wishes)
                for number, (crowd, each) in enumerate(zip(crowds, programmes, strict=True))
            )
        )
        after = await crowds[0].ask(wire.GetStats(), wire.Stats)
    return Played(
        programmes=programmes,
        feeds=[feed for feed, _ in spoken],
        decode_s=float(after.counters["decode_s"] - before.counters["decode_s"]),
        finals_decoded=int(after.counters["finals"] - before.counters["finals"]),
        dropped_s=sum(closed.dropped_seconds for _, closed in spoken),
    )


async def _speak(
    crowd: Crowd, programme: Programme, after_s: float, wishes: Mapping[str, object]
) -> tuple[Feed, wire.Closed]:
    feed = await crowd.open(0, **wishes)
    await asyncio.sleep(after_s)
    pieces = frames(_with_tail(programme.samples))
    await feed.play(pieces, len(pieces) * FRAME_S)
    return feed, await feed.end(wire.Close(stream=0))


async def read_as_files(path: Path, takes: Sequence[Take]) -> list[str]:
    """What the daemon makes of whole takes as `asrd transcribe` sends them."""
    texts = []
    async with Crowd.at(path) as crowd:
        for number, take in enumerate(takes):
            feed = await crowd.open(
                number,
                source="file",
                delivery="lossless",
                partials=False,
                endpointing_ms=round(FILE_ENDPOINTING_S * 1000),
            )
            pieces = frames(whole_frames(take.samples))
            await feed.pour(pieces, len(pieces) * FRAME_S)
            await feed.end(wire.Close(stream=number))
            texts.append(" ".join(segment.text for _, segment in feed.of(wire.Segment)))
    return texts


def _with_tail(samples: Samples) -> Samples:
    return whole_frames(
        np.concatenate([samples, np.zeros(round(TAIL_S * SAMPLE_RATE), np.float32)])
    )
