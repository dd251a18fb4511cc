"""What a peer may cost: every limit, its default and its unit."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from asrd.ranges import MOST, Count, CountOrZero, Factor, Reason, Seconds

CHUNK_OVERHEAD_BYTES = 1024
"""More than the frame of a chunk of audio holds beside the audio."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer may cost."""

    max_frame_bytes: Annotated[
        int,
        Ge(2**16 + CHUNK_OVERHEAD_BYTES),
        Le(2**28),
        Reason("less holds no chunk of audio, more costs memory before it is known what for"),
    ] = 2**20
    """The largest frame that is taken. At least a chunk of `max_chunk_bytes` and 1,024 more."""
    max_chunk_bytes: Annotated[
        int, Ge(2**10), Le(2**28), Reason("less is a few ms of audio, more is no stream any more")
    ] = 2**16
    """The most audio in one message, in bytes. More lets files be sent in larger pieces."""
    max_connections: Count = 2048
    """Connections at a time. Each takes some 5 kB while it is idle, and at the most an unfinished
    frame, an outbox and a read that is not worked off. Fewer are let in where the system gives us
    fewer file descriptors."""
    max_sessions: Count = 2048
    """Sessions with a connection; one more is answered with `busy`."""
    max_streams: Count = 64
    """Open streams of one session. More lets one client take more of what all share."""
    max_utterance_s: Annotated[
        float, Ge(1), Le(30), Reason("shorter cuts sentences, longer than 30 no engine takes")
    ] = 30.0
    """The longest utterance, in seconds; speech that goes on is cut there. Less lowers the delay
    of long speech and the time of one decode."""
    credit_window_s: Seconds = 60.0
    """Lossless: audio that may be sent ahead of the commit, in seconds. More than the longest
    utterance, so that an utterance can always be completed."""
    live_backlog_s: Seconds = 60.0
    """Live: audio held for each stream before the oldest is dropped, in seconds."""
    live_rate: Factor = 4.0
    """Live: how many times faster than real time audio may come in the long run."""
    live_burst_s: Seconds = 600.0
    """Live: audio that may come at once, in seconds. More than the backlog holds: whoever sends a
    little too much loses the oldest, and only a flood is not listened to."""
    outbox_bytes: Annotated[
        int, Ge(2**16), Le(MOST), Reason("less has no room for one message beside the next")
    ] = 256 * 1024
    """What is held in memory for one reader, with what is being written to it, in bytes."""
    outbox_messages: Count = 100
    """What waits for one reader beside that which is being written to it, in messages."""
    outbox_soft_bytes: Annotated[
        int, Ge(2**12), Le(MOST), Reason("less would take every reader for a slow one")
    ] = 64 * 1024
    """A reader for whom more bytes than this are held falls behind. No more than `outbox_bytes`."""
    outbox_soft_s: Seconds = 5.0
    """A reader that has been behind for so many seconds is too slow, and is let go."""
    outboxes_bytes: Count = 24 * 2**20
    """What may wait for all readers together, beside that which is being written, in bytes. Needs
    a restart."""
    send_timeout_s: Seconds = 5.0
    """A reader that takes nothing at all for so many seconds is given up."""
    hello_timeout_s: Seconds = 10.0
    """Who has not said hello within so many seconds is turned away."""
    frame_timeout_s: Seconds = 30.0
    """A frame that was begun must be complete within so many seconds."""
    idle_timeout_s: Seconds = 300.0
    """A connection on which nothing comes for so many seconds is closed. Clients that wait longer
    send `ping`."""
    resume_window_s: Seconds = 60.0
    """For so many seconds a session waits for a client whose connection broke."""
    max_detached_sessions: CountOrZero = 256
    """Sessions that wait so at a time; 0: none can be resumed."""
    kept_segments: CountOrZero = 1000
    """Segments of one stream kept to be sent again after a broken connection."""
    kept_bytes: CountOrZero = 16 * 2**20
    """The same for all sessions together, in bytes. A client that lacks more than is kept for it
    opens its streams anew."""
    drain_timeout_s: Seconds = 10.0
    """At the end of the daemon: how many seconds streams have to be finished."""
