"""Each open stream as `stats` tells it, to those who may know of it. Never what was said in it.

A look costs some microseconds for each stream that is told, and nothing where nobody looks.
"""

import heapq
from dataclasses import dataclass

from asrd.scheduler.ladder import Step, level_of
from asrd.server.hub import Hub
from asrd.server.served import ServedStream
from asrd.server.sessions import SeenSession, SessionStore
from asrd.session.states import StreamState
from asrd.wire.reports import StreamActivity, StreamStats

MAX_STREAMS_TOLD = 1000
"""With names of the length below, an answer stays under the megabyte that a frame may have."""

MAX_NAME_BYTES = 64
MAX_MODEL_BYTES = 128
"""Of names that clients or configurations made up, in UTF-8; what is longer is cut."""


@dataclass(frozen=True, slots=True)
class StreamsTold:
    """The streams that are told, and how many more there are."""

    streams: list[StreamStats]
    left_out: int


def tell_streams(hub: Hub, sessions: SessionStore, uid: int) -> StreamsTold:
    """The streams that a peer of that uid may see; of too many, those of the highest priority."""
    seen = [
        (each, served) for each in sessions.seen_by(uid) for served in hub.streams_of(each.session)
    ]
    chosen = seen
    if len(seen) > MAX_STREAMS_TOLD:
        chosen = heapq.nsmallest(MAX_STREAMS_TOLD, seen, key=lambda pair: pair[1].priority)
    streams = [_stats_of(each, served) for each, served in chosen]
    return StreamsTold(streams, len(seen) - len(streams))


def _stats_of(seen: SeenSession, served: ServedStream) -> StreamStats:
    view = served.stream.view
    return StreamStats(
        session=seen.session.session_id,
        client=_cut(seen.session.client, MAX_NAME_BYTES),
        is_connected=seen.is_connected,
        stream=served.asked.stream,
        source=_cut(served.asked.source, MAX_NAME_BYTES),
        priority=served.priority,
        delivery=served.delivery,
        provider=_cut(served.key.provider, MAX_NAME_BYTES),
        model=_cut(served.key.model, MAX_MODEL_BYTES),
        state=_activity(served, is_speech_open=view.is_speech_open),
        level=_level(served),
        audio_dbfs=None if view.audio_dbfs is None else round(view.audio_dbfs, 1),
        audio_s=round(view.received_s, 3),
        backlog_s=round(view.backlog_s, 3),
        uncommitted_s=round(view.uncommitted_s, 3),
        dropped_s=round(view.dropped_s, 3),
        segments=view.segments,
        delay_ms=None if view.delay_s is None else round(view.delay_s * 1000, 3),
    )


def _activity(served: ServedStream, *, is_speech_open: bool) -> StreamActivity:
    """What the stream does, the most telling first: a decode, a wait for one, its end, speech."""
    stream = served.stream
    if not stream.is_ready:
        return "opening"
    if stream.reading.is_under_way:
        return "decoding"
    if stream.reading.waiting_since_s is not None:
        return "waiting"
    if stream.state is not StreamState.OPEN:
        return "closing"
    return "speaking" if is_speech_open else "silent"


def _level(served: ServedStream) -> int:
    """The rung of the ladder that the stream itself is on."""
    level = max(map(level_of, served.told_steps)) if served.told_steps else 0
    if served.relief and served.key in served.relief:
        level = max(level, level_of(Step.SMALLER_MODEL))
    return served.level_felt(level)


def _cut(name: str, max_bytes: int) -> str:
    if len(name) * 4 <= max_bytes or (len(name) <= max_bytes and name.isascii()):
        return name
    return name.encode()[:max_bytes].decode(errors="ignore")
