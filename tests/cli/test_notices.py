"""What is said beside the results: of a connection that breaks a line for the break and one for
its end; of words that a model has not, one line."""

from collections.abc import Callable

from asrd.cli.notices import MissingWords, tell_breaks
from asrd.client import ClientState, StateChange
from asrd.wire.messages import WordTime
from support.fake_daemon import segment

CONNECTED = StateChange(state=ClientState.CONNECTED)


class FakeClient:
    """Keeps who wants to hear of its state."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[StateChange], None]] = []

    def on_state(self, callback: Callable[[StateChange], None]) -> None:
        self.callbacks.append(callback)


def told_of(*changes: StateChange) -> list[str]:
    client, lines = FakeClient(), list[str]()
    tell_breaks(client, lines.append)  # type: ignore[arg-type]
    (callback,) = client.callbacks
    for change in changes:
        callback(change)
    return lines


def waiting(attempt: int, wait_s: float, reason: str = "the connection broke") -> StateChange:
    state = ClientState.RECONNECTING
    return StateChange(state=state, reason=reason, attempt=attempt, wait_s=wait_s)


def test_a_break_is_a_line_however_many_attempts_it_takes() -> None:
    lines = told_of(waiting(1, 1.04), waiting(2, 2.0, "no daemon"), waiting(3, 4.0), CONNECTED)
    assert lines == [
        "the connection broke: connecting again in 1.0 s",
        "the connection to the daemon is back",
    ]


def test_each_break_is_told() -> None:
    assert len(told_of(waiting(1, 1.0), CONNECTED, waiting(1, 1.0), CONNECTED)) == 4


def test_that_it_is_lost_for_good_is_left_to_the_command() -> None:
    failed = StateChange(state=ClientState.FAILED, reason="in vain", attempt=3)
    assert told_of(waiting(1, 1.0), failed) == ["the connection broke: connecting again in 1.0 s"]
    assert told_of(failed) == []


def test_missing_words_are_told_once() -> None:
    lines: list[str] = []
    missing = MissingWords(lines.append, are_wanted=True)
    missing.look_at(segment(text="hello", words=[WordTime(word="hello", start=0.5, end=1.0)]))
    missing.look_at(segment(text="", words=[]))  # nothing was read: nothing is missing
    assert lines == []
    missing.look_at(segment(text="hello", words=[]))
    missing.look_at(segment(text="hello"))
    assert lines == ["fake none gives no times of words"]


def test_words_that_nobody_wants_are_not_missed() -> None:
    lines: list[str] = []
    MissingWords(lines.append, are_wanted=False).look_at(segment(text="hello"))
    assert lines == []
