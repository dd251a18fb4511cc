"""What an engine repeats senselessly goes, and nothing that somebody may have said."""

import random
import time
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asrd.session.repetition import MAX_COMPRESSION_RATIO, compression_ratio, without_loops
from asrd.transcript import Boundary, Hypothesis, Word

SPEECH = (
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do "
    "for your country."
)


def cut(text: str) -> str:
    return without_loops(Hypothesis(text=text)).text


def spoken(text: str, *, step_s: float = 0.5) -> tuple[Word, ...]:
    return tuple(
        Word(word=word, start=index * step_s, end=(index + 1) * step_s)
        for index, word in enumerate(text.split())
    )


@pytest.mark.parametrize(
    ("looping", "left"),
    [
        ("Thank you. " * 10, "Thank you."),
        ("Thank you. " * 10 + "Bye.", "Thank you. Bye."),
        ("I see. " + "Thank you. " * 10 + "Bye.", "I see. Thank you. Bye."),
        ("thank you, Thank You! THANK YOU " * 5, "thank you,"),
        ("so " * 60, "so"),
        ("one two three four five six seven eight " * 6, "one two three four five six seven eight"),
        ("no no no no wait " * 12, "no no no no wait"),
        ("yes " * 40 + "and " + "no " * 40, "yes and no"),
        ("A" + "h" * 200, "Ah"),
        ("ha" * 50, "ha"),
        ("! " * 90, "!"),
        ("谢谢观看。" * 20, "谢谢观看。"),
        ("我们走吧，" + "好的。" * 40, "我们走吧，好的"),  # noqa: RUF001
        ("की का " * 40, "की का"),
    ],
)
def test_of_a_phrase_that_repeats_itself_the_first_is_kept(looping: str, left: str) -> None:
    assert cut(looping.strip()) == left


def test_a_phrase_that_breaks_off_at_the_end_goes_too() -> None:
    assert cut("thank you very much " * 8 + "thank you very") == "thank you very much"


def test_words_that_begin_like_the_phrase_and_go_on_otherwise_stay() -> None:
    assert cut("you know " * 20 + "you should go") == "you know you should go"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no no no no",
        "Ha ha ha.",
        "No, no, no, no, no, no, no!",
        "really, really, really, really good",
        SPEECH,
        f"{SPEECH} {SPEECH} {SPEECH}",  # compresses well, but is said three times only
        "very " * 8 + SPEECH,
        " ".join(str(number) for number in range(1000, 1060)),  # compresses well, and is no loop
    ],
)
def test_what_is_no_loop_is_left_as_it_is(text: str) -> None:
    hypothesis = Hypothesis(text=text.strip(), words=spoken(text), stable=len(text.strip()))
    assert without_loops(hypothesis) is hypothesis


def test_a_loop_that_is_less_than_half_of_the_text_is_left() -> None:
    numbers = " ".join(str(number) for number in range(1000, 1100))
    text = f"{numbers} {'yes ' * 50}".strip()
    assert compression_ratio(text) > MAX_COMPRESSION_RATIO
    assert cut(text) == text


def test_words_go_with_what_is_cut() -> None:
    text = "I see. " + "Thank you. " * 10 + "Bye."
    words = spoken(text)
    left = without_loops(Hypothesis(text=text, words=words)).words
    assert left == (*words[:4], words[-1])


def test_words_with_their_blanks_are_found_in_the_text() -> None:
    text = "Thank you. " * 10 + "Bye."
    words = tuple(
        Word(word=f" {word.word}", start=word.start, end=word.end) for word in spoken(text)
    )
    left = without_loops(Hypothesis(text=text, words=words)).words
    assert left == (*words[:2], words[-1])


def test_words_that_the_text_does_not_have_go_with_what_surrounds_them() -> None:
    strange = Word(word="[music]", start=0.1, end=0.2)
    text = "Thank you. " * 10 + "Bye."
    words = spoken(text)
    with_strange = (strange, *words[:8], strange, *words[8:-1], words[-1], strange)
    left = without_loops(Hypothesis(text=text, words=with_strange)).words
    assert left == (strange, *words[:2], words[-1], strange)


def test_a_word_that_is_cut_in_its_middle_keeps_its_times() -> None:
    word = Word(word=" A" + "h" * 200, start=1.0, end=7.0, probability=0.5)
    left = without_loops(Hypothesis(text=word.word.strip(), words=(word,))).words
    assert left == (Word(word=" Ah", start=1.0, end=7.0, probability=0.5),)


def test_boundaries_and_what_is_stable_stand_before_what_followed_them() -> None:
    text = "I see. " + "Thank you. " * 10 + "Bye."
    boundaries = tuple(
        Boundary(characters=characters, at=at)
        for characters, at in [(6, 1.0), (17, 2.0), (28, 3.0), (116, 11.0), (121, 12.0)]
    )
    assert text[116:] == " Bye."
    hypothesis = Hypothesis(text=text, boundaries=boundaries, stable=118)
    left = without_loops(hypothesis)
    assert left.text == "I see. Thank you. Bye."
    assert left.boundaries == (
        Boundary(characters=6, at=1.0),
        Boundary(characters=17, at=11.0),
        Boundary(characters=22, at=12.0),
    )
    assert left.stable == 19


def test_everything_else_is_kept() -> None:
    hypothesis = Hypothesis(
        text="bye " * 50, language="en", confidence=0.5, provider="echo", model="loud"
    )
    assert without_loops(hypothesis) == Hypothesis(
        text="bye", language="en", confidence=0.5, provider="echo", model="loud"
    )


_pieces = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from(["a", "No,", "thank", "you.", "ha", "好", "谢谢", "straße", "-"]),
            min_size=1,
            max_size=5,
        ),
        st.integers(min_value=1, max_value=40),
    ),
    max_size=6,
)


def _written(pieces: list[tuple[list[str], int]]) -> str:
    return " ".join(" ".join(phrase) for phrase, times in pieces for _ in range(times))


def _is_subsequence(shorter: Iterable[str], longer: Iterable[str]) -> bool:
    rest = iter(longer)
    return all(each in rest for each in shorter)


@given(_pieces, st.data())
def test_what_is_left_is_consistent_and_is_left_for_good(
    pieces: list[tuple[list[str], int]], data: st.DataObject
) -> None:
    text = _written(pieces)
    places = data.draw(st.lists(st.integers(min_value=0, max_value=len(text)), unique=True))
    hypothesis = Hypothesis(
        text=text,
        words=spoken(text),
        boundaries=tuple(
            Boundary(characters=place, at=float(index))
            for index, place in enumerate(sorted(places))
        ),
        stable=data.draw(st.integers(min_value=0, max_value=len(text))),
    )
    left = without_loops(hypothesis)
    assert without_loops(left) is left
    assert _is_subsequence(left.text, text)
    if not set(text) & set("好谢"):  # else a word's characters may be the phrase
        assert _is_subsequence(left.text.split(), text.split())
    assert "".join(left.text.split()) == "".join(word.word for word in left.words)
    assert 0 <= left.stable <= len(left.text)
    characters = [boundary.characters for boundary in left.boundaries]
    assert characters == sorted(set(characters))
    assert all(0 <= place <= len(left.text) for place in characters)
    times = [boundary.at for boundary in left.boundaries]
    assert times == sorted(times)
    if left is not hypothesis:
        assert compression_ratio(text) > MAX_COMPRESSION_RATIO
        assert len(left.text) < len(text) / 2


@given(st.text(max_size=300))
@example("\u0301" * 100)
@example("a" * 33 + " " + "a" * 40)
def test_any_text_at_all_is_taken(text: str) -> None:
    left = without_loops(Hypothesis(text=text, words=spoken(text)))
    assert without_loops(left) is left
    assert len(left.text) <= len(text)


@given(st.permutations([f"{first}{second}" for first in "bcdfg" for second in "aeiou"]))
def test_text_without_a_repeated_word_is_never_touched(words: list[str]) -> None:
    hypothesis = Hypothesis(text=" ".join(words * 3))
    assert compression_ratio(hypothesis.text) > 1
    assert without_loops(hypothesis) is hypothesis


def _hostile() -> dict[str, str]:
    draw = random.Random(1)
    return {
        "one letter": "a" * 65_536,
        "one word": "a " * 32_768,
        "short runs": "".join(f"{chr(97 + index % 26)} " * 4 for index in range(8_192)),
        "nearly runs": "".join(f"{chr(97 + index % 26)} " * 3 for index in range(10_922)),
        "two letters": "".join(draw.choices("ab", k=65_536)),
        "two words": " ".join(draw.choices("ab", k=32_768)),
        "a phrase too long": (" ".join(f"w{index}" for index in range(65)) + " ") * 250,
        "Chinese": "你好" * 10_922,
        "nothing but signs": "!?" * 32_768,
    }


@pytest.mark.parametrize("name", _hostile())
def test_a_hostile_text_costs_little(name: str) -> None:
    text = _hostile()[name].strip()
    hypothesis = Hypothesis(text=text, words=spoken(text))
    taken_s = []
    for _ in range(3):
        begun = time.process_time()
        without_loops(hypothesis)
        taken_s.append(time.process_time() - begun)
    assert min(taken_s) < 0.5  # quadratic work would take a minute
