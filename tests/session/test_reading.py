"""What a model reads next: finals first, else the open utterance once it has grown."""

import numpy as np

from asrd.audio import PcmFormat
from asrd.session.ahead import Ahead, Queued
from asrd.session.endpoint import WINDOW_SAMPLES, Utterance
from asrd.session.listener import Listener
from asrd.session.reading import Reading, Want
from support.streams import QUICK_RULE, loud, loud_probability, silence

W = WINDOW_SAMPLES
INTERVAL = 4 * W


class Desk:
    """A listener, a queue, and a reading over both."""

    def __init__(self, interval: float | None = INTERVAL) -> None:
        self.listener = Listener(PcmFormat(), QUICK_RULE, 0)
        self.ahead = Ahead()
        self.reading = Reading(self.listener, self.ahead, interval)

    def hear(self, *, windows: int, is_loud: bool = True) -> "Desk":
        sound = loud(0, windows * W) if is_loud else silence(windows * W)
        self.listener.intake.receive(sound.tobytes(), None)
        while self.listener.has_work:
            heard, unscored = self.listener.take_unscored()
            if unscored is not None:
                heard += self.listener.scored(loud_probability(unscored.windows))
            for event in heard:
                if isinstance(event, Utterance):
                    self.ahead.put(Queued(utterance=event, queued_at_s=0.0))
                    self.reading.heard(event)
        return self


def test_nothing_is_wanted_of_silence() -> None:
    desk = Desk().hear(windows=20, is_loud=False)
    assert desk.reading.want is None
    assert desk.reading.begin() is None
    assert desk.reading.end() is None


def test_the_open_utterance_is_read_once_it_holds_the_interval() -> None:
    desk = Desk().hear(windows=3)
    assert desk.reading.want is None
    window = desk.hear(windows=1).reading.begin()
    assert window is not None
    assert (window.start, window.end, window.want) == (0, 4 * W, Want.PARTIAL)
    sound = np.concatenate([loud(0, 3 * W), loud(0, W)])
    assert window.audio.tolist() == (sound / 32768).tolist()


def test_one_decode_runs_at_a_time_and_the_next_needs_new_speech() -> None:
    desk = Desk().hear(windows=4)
    window = desk.reading.begin()
    assert desk.reading.want is None
    assert not desk.reading.is_at_final
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
    assert desk.reading.is_at_final
    desk.reading.end()
    desk.ahead.pop()
    following = desk.reading.begin()
    assert following is not None
    assert following.want is Want.PARTIAL


def test_where_no_partials_are_wanted_only_finals_are_read() -> None:
    desk = Desk(interval=None).hear(windows=20)
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


def test_partials_are_given_up_for_the_open_utterance_and_no_other() -> None:
    desk = Desk().hear(windows=4)
    window = desk.reading.begin()
    assert window is not None
    desk.reading.end()
    desk.reading.give_up_partials(window, QUICK_RULE.longest)
    assert desk.hear(windows=20).reading.want is None
    desk.hear(windows=4, is_loud=False).ahead.pop()
    assert desk.hear(windows=4).reading.want is Want.PARTIAL
    desk.reading.give_up_partials(window, QUICK_RULE.longest)
    assert desk.reading.want is Want.PARTIAL
