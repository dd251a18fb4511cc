"""Audio as it arrives: offsets, holes, marks, and the same samples however it was cut."""

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asrd.audio import Converter, PcmFormat, Samples
from asrd.errors import ErrorCode, ProtocolError
from asrd.session.intake import Intake, Mark, MarkKind
from support.profiles import examples

S16 = PcmFormat()
STEREO = PcmFormat(channels=2)


def numbered(start: int, end: int) -> bytes:
    """Samples whose values are their offsets, as s16."""
    return (np.arange(start, end) % 30000).astype("<i2").tobytes()


def offsets_of(samples: Samples) -> list[int]:
    return [round(value * 32768) for value in samples.tolist()]


def take_all(intake: Intake, max_samples: int = 1000) -> tuple[Samples, list[Mark]]:
    """Everything that waits: samples joined, marks in order."""
    parts, marks = [np.zeros(0, np.float32)], []
    while not intake.is_empty:
        batch = intake.take(max_samples)
        parts.append(batch.samples)
        if batch.mark is not None:
            marks.append(batch.mark)
    return np.concatenate(parts), marks


def hole(start: int, end: int) -> Mark:
    return Mark(kind=MarkKind.HOLE, offset=start, resume=end)


def flush(offset: int, resume: int | None = None) -> Mark:
    return Mark(kind=MarkKind.FLUSH, offset=offset, resume=offset if resume is None else resume)


# ── offsets ───────────────────────────────────────────────────────────────────────────────────


def test_audio_without_offset_follows_what_came_before() -> None:
    intake = Intake(S16, 1000)
    assert intake.receive(numbered(1000, 1010), None) is None
    assert intake.receive(numbered(1010, 1015), None) is None
    assert (intake.expected, intake.taken, intake.waiting, intake.received) == (1015, 1000, 15, 15)
    assert offsets_of(take_all(intake)[0]) == list(range(1000, 1015))
    assert (intake.expected, intake.taken, intake.waiting, intake.received) == (1015, 1015, 0, 15)


@pytest.mark.parametrize("start", [0, 90, 99])
def test_audio_sent_again_is_ignored(start: int) -> None:
    intake = Intake(S16, 0)
    intake.receive(numbered(0, 100), 0)
    assert intake.receive(numbered(start, 100), start) is None
    assert intake.received == intake.expected == 100
    assert offsets_of(take_all(intake)[0]) == list(range(100))


def test_an_overlap_is_trimmed_to_what_is_new() -> None:
    intake = Intake(STEREO, 0)
    both = np.repeat(np.arange(300, dtype="<i2"), 2)
    intake.receive(both[:200].tobytes(), 0)
    assert intake.receive(both[120:400].tobytes(), 60) is None
    assert (intake.expected, intake.received) == (200, 200)
    assert offsets_of(take_all(intake)[0]) == list(range(200))


def test_audio_from_before_the_stream_began_is_ignored() -> None:
    intake = Intake(S16, 500)
    intake.receive(numbered(400, 520), 400)
    assert intake.received == 20
    assert offsets_of(take_all(intake)[0]) == list(range(500, 520))


def test_a_hole_is_told_exactly_and_the_clock_skips_it() -> None:
    intake = Intake(S16, 0)
    intake.receive(numbered(0, 100), 0)
    assert intake.receive(numbered(250, 260), 250) == (100, 250)
    assert (intake.expected, intake.received, intake.waiting) == (260, 110, 110)
    before, after = intake.take(1000), intake.take(1000)
    assert before.mark == hole(100, 250)
    assert (before.position, after.position) == (0, 250)
    assert offsets_of(after.samples) == list(range(250, 260))


@pytest.mark.parametrize("pcm_format", [S16, STEREO, PcmFormat(encoding="pcm_f32le", channels=3)])
def test_a_chunk_of_broken_samples_is_refused_and_changes_nothing(pcm_format: PcmFormat) -> None:
    intake = Intake(pcm_format, 5)
    with pytest.raises(ProtocolError, match="whole samples") as refusal:
        intake.receive(bytes(pcm_format.frame_bytes * 3 - 1), 100)
    assert refusal.value.code is ErrorCode.INVALID_MESSAGE
    assert not refusal.value.fatal
    assert (intake.expected, intake.received, intake.is_empty) == (5, 0, True)


@pytest.mark.parametrize("offset", [None, 0, 7])
def test_an_empty_chunk_is_no_audio(offset: int | None) -> None:
    intake = Intake(S16, 7)
    assert intake.receive(b"", offset) is None
    assert intake.is_empty


# ── marks ─────────────────────────────────────────────────────────────────────────────────────


def test_marks_stand_where_they_were_asked_for_and_in_order() -> None:
    intake = Intake(S16, 0)
    intake.receive(numbered(0, 10), None)
    intake.mark(MarkKind.FLUSH)
    intake.mark(MarkKind.FLUSH)
    intake.receive(numbered(10, 30), None)
    intake.receive(numbered(40, 50), 40)
    intake.mark(MarkKind.CLOSE)
    samples, marks = take_all(intake)
    assert marks == [
        flush(10),
        flush(10),
        hole(30, 40),
        Mark(kind=MarkKind.CLOSE, offset=50, resume=50),
    ]
    assert offsets_of(samples) == [*range(30), *range(40, 50)]


def test_a_batch_ends_at_a_mark_and_at_its_size() -> None:
    intake = Intake(S16, 0)
    intake.receive(numbered(0, 25), None)
    intake.mark(MarkKind.FLUSH)
    intake.receive(numbered(25, 30), None)
    batches = [intake.take(10) for _ in range(4)]
    assert [len(batch.samples) for batch in batches] == [10, 10, 5, 5]
    assert [batch.position for batch in batches] == [0, 10, 20, 25]
    assert [batch.mark for batch in batches] == [None, None, flush(25), None]
    assert intake.is_empty


@given(
    rate=st.sampled_from([8000, 11025, 16000, 44100, 48000]),
    channels=st.sampled_from([1, 2, 5]),
    start=st.integers(0, 10**6),
    first=st.lists(st.integers(0, 900), max_size=12),
    second=st.lists(st.integers(0, 900), max_size=12),
    flushes=st.lists(st.integers(1, 4000), max_size=3),
    sizes=st.tuples(st.integers(1, 700), st.integers(1, 700)),
)
@examples(80)
def test_any_split_of_the_same_audio_gives_the_same_samples(
    rate: int,
    channels: int,
    start: int,
    first: list[int],
    second: list[int],
    flushes: list[int],
    sizes: tuple[int, int],
) -> None:
    """Cut in chunks by its sender and taken in batches, with flushes at the same offsets."""
    pcm_format = PcmFormat(sample_rate=rate, channels=channels)
    width = pcm_format.frame_bytes
    pcm = np.random.default_rng(1).integers(-9000, 9000, 4000 * channels).astype("<i2").tobytes()
    cuts = sorted({*flushes, 4000})
    results = []
    for chunks, size in zip((first, second), sizes, strict=True):
        intake = Intake(pcm_format, start)
        at = 0
        for cut in cuts:
            ends = [min(cut, at + part) for part in accumulate(chunks)]
            for end in [*ends, cut]:
                intake.receive(pcm[at * width : end * width], start + at)
                at = max(at, end)
            intake.mark(MarkKind.FLUSH)
        results.append(take_all(intake, size))
    (samples, marks), (other_samples, other_marks) = results
    assert marks == other_marks == [flush(start + cut) for cut in cuts]
    np.testing.assert_allclose(samples, other_samples, rtol=0, atol=1e-5)
    assert len(samples) == pcm_format.to_16k(start + 4000) - pcm_format.to_16k(start)
    runs, at = [], 0
    for cut in cuts:
        converter = Converter(pcm_format, start + at)
        runs += [converter.convert(pcm[at * width : cut * width]), converter.finish()]
        at = cut
    np.testing.assert_allclose(samples, np.concatenate(runs), rtol=0, atol=1e-5)


def test_many_small_chunks_are_kept_as_few_pieces() -> None:
    """A chunk of one sample must not cost the memory of an object each."""
    intake = Intake(S16, 0)
    for offset in range(20000):
        intake.receive(numbered(offset, offset + 1), None)
    assert intake.pieces < 100
    assert offsets_of(take_all(intake)[0]) == list(range(20000))


# ── dropping ──────────────────────────────────────────────────────────────────────────────────


def received(*chunks: tuple[int, int]) -> Intake:
    intake = Intake(S16, chunks[0][0])
    for start, end in chunks:
        intake.receive(numbered(start, end), start)
    return intake


def test_the_oldest_audio_is_dropped_and_leaves_a_hole() -> None:
    intake = received((0, 5000), (5000, 9000))
    assert intake.drop_oldest(10) == (0, 5000)
    assert (intake.expected, intake.waiting, intake.received) == (9000, 4000, 9000)
    samples, marks = take_all(intake, 9000)
    assert marks == [hole(0, 5000)]
    assert offsets_of(samples) == list(range(5000, 9000))


def test_at_least_as_much_is_dropped_as_was_asked_for() -> None:
    intake = received(*((start, start + 5000) for start in range(0, 25000, 5000)))
    assert intake.drop_oldest(5001) == (0, 10000)
    assert intake.drop_oldest(10**9) == (10000, 25000)
    assert (intake.waiting, intake.expected) == (0, 25000)


def test_where_no_audio_waits_nothing_is_dropped_and_nothing_is_cut() -> None:
    intake = Intake(S16, 40)
    assert intake.drop_oldest(1000) == (40, 40)
    assert intake.is_empty


def test_a_span_told_as_dropped_holds_nothing_that_never_came() -> None:
    """A hole was told as a gap: it must not be told again as dropped."""
    intake = received((0, 100), (200, 300))
    spans = [intake.drop_oldest(150), intake.drop_oldest(150)]
    assert spans == [(0, 100), (200, 300)]
    assert take_all(intake)[1][-1].resume == 300


def test_a_hole_ahead_of_what_is_dropped_is_not_part_of_it() -> None:
    intake = Intake(S16, 0)
    intake.receive(numbered(100, 200), 100)
    assert intake.drop_oldest(1) == (100, 200)
    assert take_all(intake)[1] == [hole(0, 200)]


def test_a_flush_inside_what_is_dropped_is_answered_in_its_place() -> None:
    """Behind the audio before it, ahead of the audio behind it, and with its own offset."""
    intake = Intake(S16, 0)
    for end in (5000, 10000, 15000, 20000):
        intake.receive(numbered(end - 5000, end), None)
        intake.mark(MarkKind.FLUSH)
    assert intake.drop_oldest(14000) == (0, 15000)
    samples, marks = take_all(intake, 9999)
    assert marks == [
        hole(0, 5000),
        flush(5000, 10000),
        flush(10000, 15000),
        flush(15000),
        flush(20000),
    ]
    assert offsets_of(samples) == list(range(15000, 20000))


def test_dropping_goes_on_behind_a_flush_that_was_kept() -> None:
    intake = Intake(S16, 0)
    intake.receive(numbered(0, 5000), None)
    intake.mark(MarkKind.FLUSH)
    intake.receive(numbered(5000, 10000), None)
    intake.receive(numbered(10000, 15000), None)
    assert intake.drop_oldest(6000) == (0, 10000)
    intake.take(1)  # the hole ahead of the flush
    assert intake.drop_oldest(1) == (10000, 15000)
    assert take_all(intake)[1][-1].resume == 15000


# ── refusing ──────────────────────────────────────────────────────────────────────────────────


def test_refused_chunks_leave_one_hole_and_nothing_of_them_waits() -> None:
    intake = received((0, 100))
    assert intake.refuse(numbered(100, 150), None) is None
    assert intake.refuse(numbered(90, 200), 90) is None
    assert (intake.expected, intake.received, intake.waiting) == (200, 200, 100)
    assert intake.refused == 100
    assert intake.leave_refused() == (100, 200)
    assert intake.leave_refused() is None
    intake.receive(numbered(200, 210), None)
    samples, marks = take_all(intake)
    assert marks == [hole(100, 200)]
    assert offsets_of(samples) == [*range(100), *range(200, 210)]


def test_a_hole_before_a_refused_chunk_is_told_and_joins_with_it() -> None:
    intake = received((0, 100))
    assert intake.refuse(numbered(150, 200), 150) == (100, 150)
    assert intake.leave_refused() == (150, 200)
    assert take_all(intake)[1] == [hole(100, 200)]


def test_a_broken_chunk_cannot_even_be_refused() -> None:
    intake = Intake(S16, 0)
    with pytest.raises(ProtocolError, match="whole samples"):
        intake.refuse(b"abc", 10)
    assert (intake.expected, intake.received, intake.refused, intake.is_empty) == (0, 0, 0, True)


class IntakeMachine(RuleBasedStateMachine):
    """An intake against a list of offsets that came and a list of marks."""

    @initialize(start=st.integers(0, 50))
    def begin(self, start: int) -> None:
        self.intake = Intake(S16, start)
        self.expected = start
        self.waits: list[int] = []  # offsets received and not taken or dropped
        self.flushes: list[int] = []
        self.told: list[int] = []
        self.received = 0
        self.clock = start

    @rule(back=st.integers(-30, 60), length=st.integers(0, 3000), is_exact=st.booleans())
    def receive(self, back: int, length: int, is_exact: bool) -> None:
        offset = self.expected if is_exact else max(0, self.expected - back)
        gap = self.intake.receive(numbered(offset, offset + length), None if is_exact else offset)
        assert gap == ((self.expected, offset) if offset > self.expected else None)
        new = range(max(self.expected, offset), offset + length)
        self.waits += new
        self.received += len(new)
        self.expected = max(self.expected, offset, offset + length)

    @rule(lengths=st.lists(st.integers(0, 3000), max_size=3), back=st.integers(-30, 60))
    def refuse(self, lengths: list[int], back: int) -> None:
        start, offset = self.expected, max(0, self.expected - back)
        for length in lengths:
            gap = self.intake.refuse(numbered(offset, offset + length), offset)
            assert gap == ((self.expected, offset) if offset > self.expected else None)
            start = offset if gap else start
            self.received += max(0, offset + length - max(self.expected, offset))
            self.expected = max(self.expected, offset, offset + length)
            offset = self.expected
        assert self.intake.expected == self.expected
        span = self.intake.leave_refused()
        assert span == ((start, self.expected) if self.expected > start else None)

    @rule()
    def flush(self) -> None:
        self.intake.mark(MarkKind.FLUSH)
        self.flushes.append(self.expected)

    @rule(size=st.integers(1, 4000))
    def take(self, size: int) -> None:
        batch = self.intake.take(size)
        count = len(batch.samples)
        assert count <= size
        assert offsets_of(batch.samples) == [at % 30000 for at in self.waits[:count]]
        if count:
            assert batch.position == self.waits[0] >= self.clock
            assert self.waits[count - 1] == self.waits[0] + count - 1  # no hole within
            self.clock = self.waits[count - 1] + 1
        del self.waits[:count]
        if batch.mark is not None and batch.mark.kind is MarkKind.FLUSH:
            self.told.append(batch.mark.offset)
            assert batch.mark.offset <= self.intake.taken
            assert all(at >= batch.mark.offset for at in self.waits)

    @precondition(lambda self: bool(self.waits))
    @rule(frames=st.integers(1, 4000))
    def drop(self, frames: int) -> None:
        before = len(self.waits)
        start, end = self.intake.drop_oldest(frames)
        assert list(range(start, end)) == self.waits[: end - start]
        del self.waits[: end - start]
        jumped = not self.waits or self.waits[0] > end
        assert before - len(self.waits) >= frames or jumped

    @invariant()
    def counts_agree(self) -> None:
        assert self.intake.expected == self.expected
        assert self.intake.waiting == len(self.waits)
        assert self.intake.received == self.received
        assert self.told == self.flushes[: len(self.told)]
        assert self.intake.taken <= (self.waits[0] if self.waits else self.expected)

    def teardown(self) -> None:
        samples, marks = take_all(self.intake)
        assert offsets_of(samples) == [at % 30000 for at in self.waits]
        self.told += [mark.offset for mark in marks if mark.kind is MarkKind.FLUSH]
        assert self.told == self.flushes
        assert self.intake.taken == self.expected


TestIntakeMachine = IntakeMachine.TestCase
TestIntakeMachine.settings = examples(60, steps=30)
