"""The readings of one utterance: what is told of them, where its window begins, what it ends as."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asrd.audio import SAMPLE_RATE
from asrd.session.agreement import tokens_of
from asrd.session.draft import LEAD_IN, MAX_PLACES, PROMPT_CHARACTERS, TRIM_AFTER, Draft, Told
from asrd.transcript import Boundary, Hypothesis, Word
from session.test_agreement import TEXTS
from support.profiles import examples

S = SAMPLE_RATE
SETTLED = 15 * S


def draft(start: int = 0, *, settled_before: int | None = None, n: int = 2) -> Draft:
    return Draft(start, start + SETTLED if settled_before is None else settled_before, n)


def said(
    text: str, *, words: bool = False, step_s: float = 1.0, offset_s: float = 0.0
) -> Hypothesis:
    """A reading with a word a second, and a boundary behind each full stop."""
    heard, boundaries, place = [], [], 0
    for index, word in enumerate(text.split()):
        begin_s = offset_s + index * step_s
        heard.append(Word(word=word, start=begin_s, end=begin_s + step_s))
        place = text.index(word, place) + len(word)
        if word.endswith("."):
            boundaries.append(Boundary(characters=place, at=begin_s + step_s))
    return Hypothesis(text=text, words=tuple(heard) if words else (), boundaries=tuple(boundaries))


def tell(one: Draft, end_s: float, hypothesis: Hypothesis, *, is_at_pause: bool = False) -> Told:
    return one.add(one.start + round(end_s * S), hypothesis, is_at_pause=is_at_pause)


COUNTED = "one two three four. five six seven eight nine ten eleven"


# ── what is told ──────────────────────────────────────────────────────────────────────────────


def test_what_is_agreed_on_is_told_as_stable() -> None:
    one = draft()
    assert tell(one, 1, said("one tu")) == Told(text="one tu", stable=0)
    assert tell(one, 2, said("one two three")) == Told(text="one two three", stable=3)
    assert tell(one, 3, said("One two three four")) == Told(text="one two three four", stable=13)


def test_an_empty_reading_takes_nothing_back_and_counts_for_nothing() -> None:
    one = draft()
    tell(one, 1, said("one two"))
    tell(one, 2, said("one two three"))
    assert tell(one, 3, said("")) == Told(text="one two", stable=7)
    assert tell(one, 4, said("one two three")) == Told(text="one two three", stable=13)


def test_words_that_may_become_another_utterance_s_are_not_committed() -> None:
    one = draft(settled_before=2 * S)
    tell(one, 1, said("one"))
    assert tell(one, 3, said("one two three")).stable == 3  # one of the two ends early enough
    assert tell(one, 4, said("one two three four")).stable == 3


# ── the end ───────────────────────────────────────────────────────────────────────────────────


def test_a_reading_of_all_of_it_is_the_final_until_somebody_speaks_on() -> None:
    one = draft()
    final = said("one two", words=True)
    one.note_conclusion(3 * S, final)
    tell(one, 3, final)
    assert one.conclusion(3 * S) is final
    assert one.conclusion(4 * S) is None
    tell(one, 4, said("one two three"))
    assert one.conclusion(3 * S) is None


def test_a_final_begins_with_what_was_committed() -> None:
    one = draft()
    tell(one, 2, said("one two"))
    tell(one, 3, said("one two three"))
    assert one.conclude(said("won too three four")).text == "one two three four"
    assert one.conclude(said("")).text == "one two"
    assert one.conclude(said("one two, three.")).text == "one two, three."


def test_words_of_what_was_committed_are_those_read_then() -> None:
    one = draft()
    tell(one, 2, said("one two", words=True))
    tell(one, 3, said("one two three", words=True))
    final = one.conclude(said("won too three four", words=True, offset_s=0.25))
    assert [(word.word, word.start) for word in final.words] == [
        ("one", 0.0),
        ("two", 1.0),
        ("three", 2.25),
        ("four", 3.25),
    ]
    literal = one.conclude(said("one two three", words=True, offset_s=0.25))
    assert [word.start for word in literal.words] == [0.25, 1.25, 2.25]


def test_words_without_blanks_between_them_are_each_there_once() -> None:
    one = draft()
    for end_s in (1, 2):
        tell(one, end_s, Hypothesis(text="你", words=(Word(word="你", start=0.0, end=0.5),)))
    words = (Word(word="我", start=0.0, end=0.5), Word(word="好", start=0.5, end=1.0))
    final = one.conclude(Hypothesis(text="我好", words=words))
    assert final.text == "你好"
    assert [(word.word, word.start) for word in final.words] == [("你", 0.0), ("好", 0.5)]


# ── trimming ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("start", [0, 7 * S])
def test_a_long_window_begins_anew_at_the_last_boundary_that_is_committed(start: int) -> None:
    one = draft(start)
    tell(one, 9, said("one two three four. five six", words=True))
    assert one.begin == start
    told = tell(one, 11, said(COUNTED, words=True))
    assert (one.begin, one.prompt) == (start + 4 * S, "one two three four.")
    assert told == Told(text=COUNTED, stable=len("one two three four. five six"))
    told = tell(one, 12, said("five six seven eight", words=True))
    assert told == Told(
        text="one two three four. five six seven eight",
        stable=len("one two three four. five six seven eight"),
    )
    final = one.conclude(said("five six seven eight nine.", words=True))
    assert final.text == "one two three four. five six seven eight nine."
    assert [word.word for word in final.words] == final.text.split()
    assert [word.start for word in final.words] == [float(at) for at in range(9)]
    assert final.stable == len(final.text)
    assert final.boundaries == ()


def test_a_short_window_is_not_trimmed() -> None:
    one = draft()
    tell(one, 9, said(COUNTED))
    tell(one, TRIM_AFTER / S, said(COUNTED))
    assert one.begin == 0
    assert one.prompt == ""


def test_a_window_is_trimmed_behind_a_pause() -> None:
    one = draft()
    tell(one, 5, said("one two three"), is_at_pause=True)
    told = tell(one, 11, said("one two three, four five"))
    assert one.begin == 5 * S - LEAD_IN
    assert told.stable == len("one two three,")  # with the punctuation, which no window has now
    assert one.conclude(said("four five six")).text == "one two three, four five six"


def test_a_window_is_not_trimmed_where_words_before_it_are_open() -> None:
    one = draft()
    tell(one, 9, said("one two tree four. five"))
    tell(one, 11, said(COUNTED))
    assert one.begin == 0


def test_a_window_is_not_trimmed_behind_what_is_settled() -> None:
    one = draft(settled_before=3 * S)
    tell(one, 2.5, said("one two three four. five"))
    tell(one, 11, said(COUNTED))
    assert tell(one, 12, said(COUNTED)).stable > len("one two three four.")
    assert one.begin == 0


def test_a_window_of_a_model_that_is_fed_is_not_trimmed() -> None:
    one = draft()
    tell(one, 9, said(COUNTED))
    one.add(11 * S, said(COUNTED), is_at_pause=False, may_trim=False)
    assert one.begin == 0


def test_a_widened_draft_expects_readings_of_the_whole_utterance() -> None:
    one = draft()
    tell(one, 9, said("one two three four. five six", words=True))
    tell(one, 11, said(COUNTED, words=True))
    assert one.begin == 4 * S
    one.widen()
    assert (one.begin, one.prompt) == (0, "")
    capitals = said(COUNTED.upper(), words=True)
    told = one.add(12 * S, capitals, is_at_pause=False, may_trim=False)
    assert told.text == "one two three four. five six SEVEN EIGHT NINE TEN ELEVEN"
    assert told.stable == len("one two three four. five six")
    final = one.conclude(capitals)
    assert final.text == told.text
    assert [word.word for word in final.words] == final.text.split()
    assert [word.start for word in final.words] == [float(at) for at in range(11)]
    one.widen()
    assert one.conclude(said(COUNTED)).text == COUNTED


def test_the_prompt_is_the_end_of_what_was_said() -> None:
    one = draft()
    text = "".join(f"word{at} " for at in range(100)) + "stop. and more of it"
    for end_s in (9, 11):
        tell(one, end_s, said(text, step_s=0.1))
    assert one.begin > 0
    assert len(one.prompt) <= PROMPT_CHARACTERS
    assert one.prompt.endswith("word99 stop.")


def test_of_many_boundaries_the_last_are_remembered() -> None:
    one = draft()
    text = "a. " * 20000 + "b"
    began_s = time.process_time()
    for end_s in (9, 11):
        tell(one, end_s, said(text, step_s=0.0004))
    assert one.begin == round(20000 * 0.0004 * S)
    assert len(one._places) <= MAX_PLACES
    assert time.process_time() - began_s < 10.0


# ── whatever comes ────────────────────────────────────────────────────────────────────────────

READINGS = st.lists(
    st.tuples(
        st.floats(0.0, 6.0),  # seconds it goes on by
        TEXTS,
        st.lists(st.tuples(st.integers(0, 50), st.floats(0.0, 20.0)), max_size=3),
        st.integers(0, 40),
        st.booleans(),
        st.sampled_from(["", "", "widen"]),
    ),
    max_size=8,
)


@given(n=st.integers(1, 3), readings=READINGS, last=TEXTS)
@examples(400)
def test_what_was_stable_is_what_every_text_begins_with(
    n: int,
    readings: list[tuple[float, str, list[tuple[int, float]], int, bool, str]],
    last: str,
) -> None:
    start = 3 * S
    one = draft(start, n=n)
    stable, end, whole = "", start, False
    for grown_s, text, boundaries, own_stable, is_at_pause, then in readings:
        end += round(grown_s * S) + (not is_at_pause)  # what is no pause was not read as one
        begin = one.begin
        text = text.strip()
        hypothesis = Hypothesis(
            text=text,
            boundaries=tuple(Boundary(characters=at, at=at_s) for at, at_s in boundaries),
            stable=min(own_stable, len(text)),
        )
        if is_at_pause:
            one.note_conclusion(end, hypothesis)
        told = one.add(end, hypothesis, is_at_pause=is_at_pause, may_trim=not whole)
        assert 0 <= told.stable <= len(told.text)
        assert told.text.startswith(stable)
        assert told.stable >= len(stable)
        stable = told.text[: told.stable]
        assert begin <= one.begin <= start + SETTLED
        if one.begin > begin:
            assert one.begin <= end
            assert one._before.rstrip() == stable[: len(one._before.rstrip())]
        final = one.conclusion(end)
        assert (final is not None) is is_at_pause
        if final is not None:
            assert final.text.startswith(stable)
        if then:
            whole = True
            one.widen()
            assert one.begin == start
    assert one.conclude(Hypothesis(text=last.strip())).text.startswith(stable)


@given(text=TEXTS, n=st.integers(1, 3), cuts=st.lists(st.integers(0, 60), max_size=4))
@examples(300)
def test_readings_that_agree_end_as_the_last_of_them(text: str, n: int, cuts: list[int]) -> None:
    """Each holds the words of the one before, whole: what they end as is the last one's text."""
    text, one = text.strip(), draft(n=n)
    ends = [token.begin + len(token.whole) for token in tokens_of(text)]
    for count in sorted(cuts):
        shown = text[: ends[min(count, len(ends) - 1)]] if ends else text
        tell(one, 5, Hypothesis(text=shown))
    assert one.conclude(Hypothesis(text=text)).text == text


class Speaker:
    """Words at their times, as a model reads them in the window that a draft has."""

    def __init__(self, start: int, steps_s: list[float], jitter_s: list[float]) -> None:
        self.start, self.jitter_s = start, jitter_s
        self.words: list[tuple[str, float, float]] = []
        at_s = 0.0
        for index, step_s in enumerate(steps_s):
            name = f"w{index}" + (". " if index % 3 == 2 else " ").strip()
            self.words.append((name, at_s, at_s + step_s))
            at_s += step_s
        self.end_s = at_s

    def read(self, one: Draft, end_s: float, number: int, *, slips: bool) -> Hypothesis:
        begin_s = (one.begin - self.start) / S
        jitter_s = self.jitter_s[number % len(self.jitter_s)]
        words, boundaries, text = [], [], ""
        for at, (name, from_s, until_s) in enumerate(self.words):
            if from_s < begin_s - 1e-4 or until_s > end_s:
                continue
            heard = f"z{at}" if slips and (at + number) % 4 == 0 else name
            text = f"{text} {heard}".strip()
            since_s = max(0.0, from_s - begin_s + (jitter_s if slips else 0.0))
            words.append(Word(word=heard, start=since_s, end=max(since_s, until_s - begin_s)))
            if name.endswith("."):
                boundaries.append(Boundary(characters=len(text), at=until_s - begin_s))
        return Hypothesis(text=text, words=tuple(words), boundaries=tuple(boundaries))


@given(
    n=st.integers(1, 3),
    steps_s=st.lists(st.floats(0.1, 1.5), min_size=1, max_size=60),
    interval_s=st.floats(0.5, 4.0),
    jitter_s=st.lists(st.floats(-0.6, 0.6), min_size=1, max_size=5),
    slips=st.booleans(),
)
@example(n=1, steps_s=[0.25, 1.0], interval_s=1.0, jitter_s=[0.5, 0.0], slips=True)
@examples(200)
def test_each_word_is_told_once_at_its_time_on_the_utterances_clock(
    n: int, steps_s: list[float], interval_s: float, jitter_s: list[float], slips: bool
) -> None:
    start = 5 * S
    one, speaker = (
        draft(start, settled_before=start + 60 * S, n=n),
        Speaker(start, steps_s, jitter_s),
    )
    at_s, number = interval_s, 0
    while at_s < speaker.end_s:
        tell(one, at_s, speaker.read(one, at_s, number, slips=slips))
        at_s, number = at_s + interval_s, number + 1
    final = one.conclude(speaker.read(one, speaker.end_s, number, slips=slips))
    numbers = [int(word.strip(".")[1:]) for word in final.text.split()]
    assert numbers == list(range(len(steps_s)))
    assert [word.word.strip(".") for word in final.words] == [
        word.strip(".") for word in final.text.split()
    ]
    assert all(sooner.start <= later.start for sooner, later in pairwise(final.words))
    assert all(word.start <= word.end for word in final.words)
    if not slips:
        for word, (_, from_s, until_s) in zip(final.words, speaker.words, strict=True):
            assert word.start == pytest.approx(from_s, abs=1e-3)
            assert word.end == pytest.approx(until_s, abs=1e-3)
    if not slips and speaker.end_s > 25 and n < 3 and interval_s < 2:
        assert one.begin > start


def test_an_engines_own_stable_words_are_not_committed_where_a_split_may_come() -> None:
    one = draft(settled_before=2 * S)
    sure = Hypothesis(text="one two three four", stable=len("one two three four"))
    assert tell(one, 3, sure).stable == 0
    one = draft(settled_before=2 * S)
    early = Hypothesis(text="one two three", stable=len("one two three"))
    assert tell(one, 2, early).stable == len("one two")
    assert tell(one, 3, sure).stable == len("one two three")  # which a reading before had, too
