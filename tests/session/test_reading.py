"""What a model reads next: finals first, else the open utterance once it has grown."""

import numpy as np
import pytest

from asrd.audio import SAMPLE_RATE, PcmFormat
from asrd.session.ahead import Ahead
from asrd.session.endpoint import WINDOW_SAMPLES, Utterance
from asrd.session.listener import Listener
from asrd.session.reading import Reading
from asrd.session.rule import StreamRule
from asrd.session.window import NextWindow, Want, Window
from support.streams import QUICK_RULE, loud, loud_probability, silence

W = WINDOW_SAMPLES
INTERVAL_S = 4 * W / SAMPLE_RATE


class Desk:
    """A listener, a queue, and a reading over both."""

    def __init__(self, interval_s: float | None = INTERVAL_S) -> None:
        self.listener = Listener(PcmFormat(), QUICK_RULE, 0)
        self.ahead = Ahead()
        rule = StreamRule(
            pcm_format=PcmFormat(),
            endpoint_rule=QUICK_RULE,
            is_lossless=True,
            window_s=60,
            partial_interval_s=interval_s,
        )
        self.reading = Reading(self.listener, self.ahead, rule)
        self.reading.partial_interval_s = interval_s

    def hear(self, *, windows: int, is_loud: bool = True) -> "Desk":
        sound = loud(0, windows * W) if is_loud else silence(windows * W)
        self.listener.intake.receive(sound.tobytes(), None)
        while self.listener.has_work:
            heard, unscored = self.listener.take_unscored()
            if unscored is not None:
                heard += self.listener.scored(loud_probability(unscored.windows))
            for event in heard:
                if isinstance(event, Utterance):
                    self.reading.heard(event, 0.0)
        return self

    def read(self) -> Window:
        """A decode from its beginning to its end."""
        window = self.reading.begin()
        assert window is not None
        assert self.reading.end() is window
        return window


def test_nothing_is_wanted_of_silence() -> None:
    desk = Desk().hear(windows=20, is_loud=False)
    assert desk.reading.want is None
    assert desk.reading.begin() is None
    assert desk.reading.end() is None


def test_the_open_utterance_is_read_once_it_holds_half_of_the_interval() -> None:
    desk = Desk().hear(windows=1)
    assert desk.reading.want is None
    window = desk.hear(windows=1).reading.begin()
    assert window is not None
    assert (window.start, window.end, window.want) == (0, 2 * W, Want.PARTIAL)
    assert (window.is_thorough, window.coalesced) == (False, 0)
    sound = np.concatenate([loud(0, W), loud(0, W)])
    assert window.audio.tolist() == (sound / 32768).tolist()


def test_one_decode_runs_at_a_time_and_the_next_needs_new_speech() -> None:
    desk = Desk().hear(windows=4)
    window = desk.reading.begin()
    assert desk.reading.want is None
    assert not desk.reading.is_at_first
    desk.hear(windows=3)
    assert desk.reading.end() is window
    assert desk.reading.want is None
    assert desk.hear(windows=1).reading.want is Want.PARTIAL


def test_a_final_comes_first_and_is_read_whole() -> None:
    desk = Desk().hear(windows=4).hear(windows=4, is_loud=False).hear(windows=8)
    assert desk.reading.want is Want.FINAL
    window = desk.reading.begin()
    assert window is not None
    assert (window.start, window.end) == (0, 6 * W)
    assert desk.reading.is_at_first
    desk.reading.end()
    desk.ahead.pop()
    following = desk.reading.begin()
    assert following is not None
    assert following.want is Want.PARTIAL


def test_where_no_partials_are_wanted_only_finals_are_read() -> None:
    desk = Desk(interval_s=None).hear(windows=20)
    assert desk.reading.want is None
    assert desk.hear(windows=4, is_loud=False).reading.want is Want.FINAL


def test_an_utterance_that_trails_off_is_not_read_again() -> None:
    desk = Desk().hear(windows=20).hear(windows=1, is_loud=False)
    assert desk.reading.want is None


def test_a_window_belongs_to_the_open_utterance_until_that_is_finished() -> None:
    desk = Desk().hear(windows=4)
    window = desk.reading.begin()
    assert window is not None
    assert desk.reading.is_of_open_utterance(window)
    desk.hear(windows=4, is_loud=False)
    assert not desk.reading.is_of_open_utterance(window)


def test_partials_are_given_up_for_the_utterance_that_ended_a_worker_and_no_other() -> None:
    desk = Desk().hear(windows=4)
    window = desk.read()
    assert not desk.reading.blame(window)
    assert desk.hear(windows=20).reading.want is None
    assert desk.hear(windows=4, is_loud=False).ahead.pop().attempts == 1
    assert desk.hear(windows=4).reading.want is Want.PARTIAL
    assert not desk.reading.blame(window)  # told too late: its utterance is gone
    assert desk.reading.want is Want.PARTIAL


def test_an_utterance_is_to_blame_for_the_workers_of_its_partials_too() -> None:
    desk = Desk().hear(windows=4)
    window = desk.reading.begin()
    desk.hear(windows=4, is_loud=False)
    assert desk.reading.end() is window
    assert window is not None
    assert not desk.reading.blame(window)
    assert desk.reading.blame(desk.read())
    assert desk.reading.heard_s == 6 * W / SAMPLE_RATE


# ── pace ──────────────────────────────────────────────────────────────────────────────────────


def test_a_longer_pace_takes_back_a_partial_that_nobody_has_begun() -> None:
    desk = Desk().hear(windows=2)
    planned = desk.reading.next_window
    assert planned == NextWindow(audio_s=2 * W / SAMPLE_RATE, is_thorough=False, prompt="")
    desk.reading.partial_interval_s = 2 * INTERVAL_S
    assert desk.reading.want is None
    assert desk.reading.next_window is None
    assert desk.hear(windows=1).reading.begin() is None
    assert desk.hear(windows=1).reading.begin() is not None


def test_a_pace_of_none_and_back_loses_nothing() -> None:
    desk = Desk().hear(windows=4)
    desk.reading.partial_interval_s = None
    assert desk.hear(windows=9).reading.want is None
    desk.reading.partial_interval_s = INTERVAL_S
    assert desk.reading.want is Want.PARTIAL


def test_a_new_pace_counts_from_where_was_read_last() -> None:
    desk = Desk().hear(windows=2)
    desk.read()
    desk.reading.partial_interval_s = INTERVAL_S / 2
    assert desk.hear(windows=1).reading.want is None
    assert desk.hear(windows=1).reading.want is Want.PARTIAL


def test_the_first_partial_counts_whole_intervals_behind_the_half_that_it_waited_for() -> None:
    assert [Desk().hear(windows=n).read().coalesced for n in (2, 5, 6, 9, 10)] == [0, 0, 1, 1, 2]


def test_a_long_utterance_is_read_again_once_it_has_grown_by_two_fifths_of_its_window() -> None:
    desk = Desk().hear(windows=20)
    desk.read()
    grown = 0
    while desk.reading.want is None:
        desk.hear(windows=1)
        grown += 1
    assert grown == 14  # two fifths of the 34 that it has then


@pytest.mark.parametrize(("windows", "coalesced"), [(4, 0), (7, 0), (8, 0), (15, 0), (16, 1)])
def test_a_partial_says_how_many_it_stands_for(windows: int, coalesced: int) -> None:
    desk = Desk().hear(windows=4)
    desk.read()
    for _ in range(windows):
        desk.hear(windows=1)
    assert desk.read().coalesced == coalesced


def test_a_final_stands_for_itself_however_long_it_is() -> None:
    desk = Desk().hear(windows=40).hear(windows=4, is_loud=False)
    assert desk.read().coalesced == 0


# ── what comes back ───────────────────────────────────────────────────────────────────────────


def test_a_partial_that_is_put_back_is_read_with_what_came_since() -> None:
    desk = Desk().hear(windows=4)
    window = desk.reading.begin()
    assert window is not None
    desk.hear(windows=4)
    desk.reading.end()
    desk.reading.put_back(window)
    again = desk.read()
    assert (again.start, again.end, again.coalesced) == (0, 8 * W, 1)
    assert desk.reading.want is None


def test_a_partial_that_is_put_back_twice_begins_where_it_first_began() -> None:
    desk = Desk().hear(windows=4)
    desk.read()
    desk.hear(windows=4)
    for _ in range(2):
        window = desk.read()
        assert window.coalesced == 0
        assert desk.reading.want is None
        desk.reading.put_back(window)
        assert desk.reading.want is Want.PARTIAL


def test_a_partial_that_is_put_back_when_its_utterance_is_over_is_read_as_the_final() -> None:
    desk = Desk(2 * INTERVAL_S).hear(windows=4)
    window = desk.reading.begin()
    assert window is not None
    desk.hear(windows=4, is_loud=False).hear(windows=1)
    desk.reading.end()
    desk.reading.put_back(window)
    final = desk.read()
    assert (final.want, final.start, final.end) == (Want.FINAL, 0, 6 * W)
    desk.ahead.pop()
    assert desk.reading.want is None  # of the next utterance there is not enough yet
    assert desk.hear(windows=1).reading.want is Want.PARTIAL


def test_a_final_that_is_put_back_is_read_again_and_is_not_to_blame() -> None:
    desk = Desk().hear(windows=4).hear(windows=4, is_loud=False)
    window = desk.read()
    desk.reading.put_back(window)
    again = desk.read()
    assert (again.start, again.end, again.want) == (window.start, window.end, window.want)
    assert desk.ahead.first.attempts == 0
