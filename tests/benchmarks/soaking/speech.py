"""What is said on one stream of the soak, and whether all of it was read, once and in order."""

from dataclasses import dataclass, field

from asrd.wire.messages import Ack, Closed, Credit, Error, Event, Opened, Segment, ServerMessage
from faults.scenes import LONG, PHRASE, Reading, reading

CHUNK_BYTES = 8_000
CHUNK_S = 0.25
PAUSE = bytes(2 * 16_000)
"""A second of silence that ends whatever was being said, so that all laps sound the same."""

LAP = LONG + PAUSE + PHRASE
"""38 seconds, twelve utterances."""


def audio(first_bytes: int, begin: int, end: int) -> bytes:
    """A part of a stream's audio: the recording over and over, from some place of it on."""
    place = (first_bytes + begin) % len(LAP)
    size = end - begin
    laps = LAP * (2 + size // len(LAP)) if place + size > len(LAP) else LAP
    return laps[place : place + size]


@dataclass(eq=False)
class Speech:
    """One stream: what it says, how far it is, what was heard of it, and what was wrong with that.

    `length_bytes` None is a stream that goes on until `end`.
    """

    number: int
    source: str
    length_bytes: int | None
    first_bytes: int = 0
    is_opened: bool = False
    is_refused: bool = False
    """Its model was unloaded while it waited for that: it may be opened again."""
    is_close_said: bool = False
    may_be_closing: bool = False
    """A close was said before the connection broke, and may have arrived or not."""
    sent_bytes: int = 0
    furthest_bytes: int = 0
    """Sent at any time: `sent_bytes` goes back when the connection breaks."""
    committed: int = 0
    credit: int | None = None
    segments: list[Segment] = field(default_factory=list)
    closed: Closed | None = None
    wrongs: list[str] = field(default_factory=list)

    @property
    def is_live(self) -> bool:
        """Whether it is paced by a clock, and not by the daemon's credit."""
        return self.source in ("mic", "system")

    @property
    def is_over(self) -> bool:
        """Whether all was said."""
        return self.length_bytes is not None and self.sent_bytes >= self.length_bytes

    def end(self) -> None:
        """Say no more than was said, be it on an earlier connection."""
        self.length_bytes = self.furthest_bytes

    def next_chunk(self) -> tuple[int, bytes] | None:
        """Offset and bytes of what may be sent now; None where that is nothing."""
        end = self.sent_bytes + CHUNK_BYTES
        if self.length_bytes is not None:
            end = min(end, self.length_bytes)
        if self.credit is not None:
            end = min(end, 2 * self.credit)
        if end <= self.sent_bytes:
            return None
        begin, self.sent_bytes = self.sent_bytes, end
        self.furthest_bytes = max(self.furthest_bytes, end)
        return begin // 2, audio(self.first_bytes, begin, end)

    def go_back(self, commit: int) -> None:
        """The connection broke: say again what the daemon has not finished."""
        self.sent_bytes = min(self.sent_bytes, 2 * commit)
        self.may_be_closing |= self.is_close_said
        self.is_close_said = False

    def hear(self, message: ServerMessage) -> None:
        """Note what the daemon said of this stream."""
        match message:
            case Opened(credit=credit):
                self.is_opened = True
                self.credit = credit if isinstance(credit, int) else None
            case Credit(offset=offset):
                self.credit = offset
            case Ack(offset=offset):
                self.committed = max(self.committed, offset)
            case Segment():
                self._hear_segment(message)
            case Closed():
                self.closed = message
            case Event(event="dropped"):
                self.wrongs.append(f"dropped: {message}")
            case Error(code="provider_unavailable") if not self.is_opened:
                self.is_refused = True
            case Error(code="unknown_stream") if self.may_be_closing:
                pass  # it was said twice, since nobody knew whether it had arrived
            case Error():
                self.wrongs.append(f"error: {message.code}: {message.message}")
            case _:
                pass

    def _hear_segment(self, segment: Segment) -> None:
        expected = len(self.segments)
        if segment.id != expected:
            what = "doubled" if segment.id < expected else "lost"
            self.wrongs.append(f"{what}: segment {segment.id} came for {expected}")
            return
        self.segments.append(segment)
        self.committed = max(self.committed, segment.offset)

    def compare(self, undisturbed: Reading, *, is_exact: bool) -> None:
        """Hold what was read against what is read in peace.

        Where not `is_exact` the daemon was killed. Another one reads on from the commit, and cuts
        its first window elsewhere: then texts are left aside, and times may differ a little.
        """
        heard = reading(self.segments)
        if is_exact:
            is_same = heard == undisturbed
        else:
            is_same = len(heard) == len(undisturbed) and all(
                abs(mine[1] - its[1]) + abs(mine[2] - its[2]) < SLACK_S
                for mine, its in zip(heard, undisturbed, strict=True)
            )
        if not is_same:
            odd = [pair for pair in zip(heard, undisturbed, strict=False) if pair[0] != pair[1]]
            counts = f"{len(heard)} segments, {len(undisturbed)} in peace"
            self.wrongs.append(f"reads otherwise: {counts}; first {odd[:1]}")


SLACK_S = 0.3
