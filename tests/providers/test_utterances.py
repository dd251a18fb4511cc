"""The open readers of a streaming model: what they are fed, and that each is closed once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from asrd import DecodeCancelled, DecodeOptions, DecodeRequest, ProviderError, RequestUnsupported
from asrd.providers import calls
from asrd.providers.utterances import Forgotten, Utterances
from support.attentive import AttentiveModel


class Room:
    """Utterances of one model, fed as a worker feeds them."""

    def __init__(self, **settings: Any) -> None:
        self.model = AttentiveModel(settings)
        self.utterances = Utterances(self.model)

    def feed(
        self,
        number: int,
        size: int,
        *,
        is_first: bool = False,
        is_last: bool = False,
        prompt: str | None = None,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> str:
        feeding = calls.Feeding(utterance=number, is_first=is_first, is_last=is_last)
        read = self.utterances.read(feeding, request(size, prompt, keep_going))
        return read.hypothesis.text

    def begin(self, number: int, size: int = 1, *, prompt: str | None = None) -> str:
        return self.feed(number, size, is_first=True, prompt=prompt)

    @property
    def closed(self) -> list[int]:
        """How often each reader was closed, in the order in which they were begun."""
        return [reader.closed for reader in self.model.readers]


def request(
    size: int, prompt: str | None = None, keep_going: Callable[[], bool] = lambda: True
) -> DecodeRequest:
    options = DecodeOptions(prompt=prompt, keep_going=keep_going)
    return DecodeRequest(audio=np.zeros(size, np.float32), options=options)


# ── one utterance ─────────────────────────────────────────────────────────────────────────────


def test_an_utterance_is_fed_piece_by_piece_and_closed_once_it_is_finished() -> None:
    room = Room()
    assert room.begin(1, 5) == "5"
    assert room.feed(1, 6) == "5 6"
    assert room.closed == [0]
    assert room.feed(1, 7, is_last=True) == "5 6 7."
    assert room.closed == [1]
    with pytest.raises(Forgotten):
        room.feed(1, 8)


def test_an_utterance_may_come_in_one_piece() -> None:
    room = Room()
    assert room.feed(1, 5, is_first=True, is_last=True) == "5."
    assert room.closed == [1]


def test_empty_audio_is_not_fed() -> None:
    """The reading so far is answered again; with nothing so far, nothing was heard."""
    room = Room()
    assert room.begin(1, 0) == ""
    assert room.feed(1, 5) == "5"
    assert room.feed(1, 0) == "5"
    assert room.feed(1, 0, is_last=True) == "5."
    assert room.feed(2, 0, is_first=True, is_last=True) == "."
    assert [reader.pieces for reader in room.model.readers] == [[5], []]


def test_a_beginning_replaces_what_is_known_of_the_number() -> None:
    room = Room()
    room.begin(1, 5)
    assert room.begin(1, 6) == "6"
    assert room.closed == [1, 0]


def test_utterances_do_not_mix() -> None:
    room = Room()
    room.begin(1, 5)
    room.begin(2, 50)
    assert room.feed(1, 6) == "5 6"
    assert room.feed(2, 60, is_last=True) == "50 60."
    assert room.closed == [0, 1]


def test_what_is_unknown_is_forgotten() -> None:
    room = Room()
    with pytest.raises(Forgotten):
        room.feed(1, 5, is_last=True)
    room.utterances.forget(1)
    assert room.model.readers == []


def test_who_is_forgotten_is_closed() -> None:
    room = Room()
    room.begin(1)
    room.utterances.forget(1)
    room.utterances.forget(1)
    assert room.closed == [1]
    with pytest.raises(Forgotten):
        room.feed(1, 5)


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("when", ["feed", "finish"])
@pytest.mark.parametrize(
    ("deed", "error"),
    [
        ("fail", ProviderError),
        ("refuse", RequestUnsupported),
        ("raise", RuntimeError),
        ("give_up", DecodeCancelled),
        ("nonsense", ProviderError),
    ],
)
def test_a_reader_that_fails_is_closed_and_forgotten(
    when: str, deed: str, error: type[Exception]
) -> None:
    room = Room()
    with pytest.raises(error):
        room.feed(1, 5, is_first=True, is_last=when == "finish", prompt=f"{when}:{deed}")
    assert room.closed == [1]
    with pytest.raises(Forgotten):
        room.feed(1, 5)


@pytest.mark.parametrize("deed", ["refuse", "nonsense"])
def test_a_beginning_that_fails_takes_no_place(deed: str) -> None:
    room = Room(most_readers=1)
    for _ in range(2):
        with pytest.raises(ProviderError):
            room.begin(1, prompt=f"begin:{deed}")
    assert room.begin(2, 5) == "5"


def test_a_reader_that_cannot_be_closed_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    room = Room(most_readers=1)
    for number in range(3):
        assert room.feed(number, 5, is_first=True, is_last=True, prompt="close:raise") == "5."
    assert room.closed == [1, 1, 1]
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: broken inside" in line


# ── room ──────────────────────────────────────────────────────────────────────────────────────


def test_one_more_than_may_be_open_waits_and_costs_nobody_anything() -> None:
    room = Room(most_readers=2)
    room.begin(1, 5)
    room.begin(2, 5)
    with pytest.raises(Forgotten, match="2 utterances are open"):
        room.begin(3)
    assert len(room.model.readers) == 2
    assert room.feed(1, 6) == "5 6"
    room.feed(2, 6, is_last=True)
    assert room.begin(3, 7) == "7"


def test_one_that_has_to_be_finished_takes_the_place_of_the_one_fed_least_recently() -> None:
    room = Room(most_readers=2)
    room.begin(1, 5)
    room.begin(2, 5)
    room.feed(1, 6)
    assert room.feed(3, 7, is_first=True, is_last=True) == "7."
    assert room.closed == [0, 1, 1]
    assert room.feed(1, 8) == "5 6 8"
    with pytest.raises(Forgotten):
        room.feed(2, 6)


def test_one_that_begins_anew_needs_no_second_place() -> None:
    room = Room(most_readers=1)
    room.begin(1, 5)
    assert room.begin(1, 6) == "6"


def test_a_whole_window_has_a_reader_for_as_long_as_it_takes() -> None:
    room = Room(most_readers=1)
    room.begin(1, 5)
    assert room.utterances.read_window(request(9)).hypothesis.text == "9."
    assert room.closed == [1, 1]
    with pytest.raises(RuntimeError):
        room.utterances.read_window(request(9, "feed:raise"))
    assert room.closed == [1, 1, 1]
    assert room.begin(2, 5) == "5"


# ── several threads ───────────────────────────────────────────────────────────────────────────


class Pausing:
    """A `keep_going` that waits in the midst of a reader's work."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        self.has_begun.set()
        assert self.may_end.wait(15)
        return False


def test_a_reader_in_use_is_neither_displaced_nor_closed() -> None:
    room = Room(most_readers=2)
    pause = Pausing()
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(room.feed, 1, 5, is_first=True, prompt="feed:work_on", keep_going=pause)
        assert pause.has_begun.wait(15)
        room.begin(2, 5)
        room.utterances.forget(1)
        assert room.feed(3, 6, is_first=True, is_last=True) == "6."
        assert room.closed == [0, 1, 1]
        pause.may_end.set()
        with pytest.raises(DecodeCancelled):
            busy.result()
    assert room.closed == [1, 1, 1]


def test_what_is_forgotten_while_it_is_fed_ends_with_that() -> None:
    room = Room()
    pause = Pausing()
    with ThreadPoolExecutor(1) as pool:
        fed = pool.submit(room.feed, 1, 5, is_first=True, prompt="feed:ask", keep_going=pause)
        assert pause.has_begun.wait(15)
        room.utterances.forget(1)
        assert room.closed == [0]
        pause.may_end.set()
        assert fed.result() == "5"
    assert room.closed == [1]
    with pytest.raises(Forgotten):
        room.feed(1, 6)


def test_many_threads_leave_nothing_open() -> None:
    room = Room(most_readers=8)

    def speak(thread: int) -> None:
        for _ in range(50):
            text = room.begin(thread, 1)
            for size in range(2, 6):
                text += f" {size}"
                assert room.feed(thread, size) == text
            assert room.feed(thread, 0, is_last=True) == f"{text}."

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(speak, range(8)))
    assert room.closed == [1] * 400


# ── any order ─────────────────────────────────────────────────────────────────────────────────


NUMBERS = st.integers(0, 5)
MOST_READERS = 3


class AnyOrder(RuleBasedStateMachine):
    """Whatever is asked in whatever order, the readings are those of a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(most_readers=MOST_READERS)
        self.expected: dict[int, list[int]] = {}  # those fed least recently first

    @rule(number=NUMBERS, size=st.integers(0, 9), is_first=st.booleans(), is_last=st.booleans())
    def feed(self, number: int, size: int, *, is_first: bool, is_last: bool) -> None:
        if is_first:
            self.expected.pop(number, None)
            if is_last and len(self.expected) == MOST_READERS:
                del self.expected[next(iter(self.expected))]
        has_room = len(self.expected) < MOST_READERS
        if is_first and has_room:
            self.expected[number] = []
        if number not in self.expected:
            with pytest.raises(Forgotten):
                self.room.feed(number, size, is_first=is_first, is_last=is_last)
            return
        pieces = self.expected.pop(number) + [size] * (size > 0)
        text = " ".join(map(str, pieces)) + "." * is_last
        assert self.room.feed(number, size, is_first=is_first, is_last=is_last) == text
        if not is_last:
            self.expected[number] = pieces

    @rule(number=NUMBERS, size=st.integers(1, 9), when=st.sampled_from(["begin", "feed"]))
    def fail(self, number: int, size: int, when: str) -> None:
        self.expected.pop(number, None)
        if len(self.expected) == MOST_READERS:
            with pytest.raises(Forgotten):
                self.room.begin(number, size, prompt=f"{when}:fail")
        else:
            with pytest.raises(ProviderError):
                self.room.begin(number, size, prompt=f"{when}:fail")

    @rule(number=NUMBERS)
    def forget(self, number: int) -> None:
        self.expected.pop(number, None)
        self.room.utterances.forget(number)

    @invariant()
    def those_and_no_others_are_open(self) -> None:
        open_readers = [reader for reader in self.room.model.readers if not reader.closed]
        assert sorted(reader.pieces for reader in open_readers) == sorted(self.expected.values())
        assert all(reader.closed <= 1 for reader in self.room.model.readers)


TestAnyOrder = AnyOrder.TestCase
