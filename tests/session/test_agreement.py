"""What readings agree on is committed and never changes, whatever the readings are."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.session.agreement import LocalAgreement, join, tokens_of
from support.profiles import examples

PIECES = [
    "the", "The", "cat", "sat", "on", "mat", "a", "don't", "U.S.", "3.5", "x-ray",
    ",", ".", "?", "—", "...", '"', "(", "_", " ", "  ", "\n", "\u3000",
    "你", "好", "世界", "。", "Python", "編程", "カタ", "か\u3099",
    "ก", "ที่", "น้ำ", "ม", "की", "का", "कि", "e\u0301", "cafe\u0301",
    "🙂", "❤\ufe0f", "\u0301", "ß", "SS", "ǆ", "İ",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from([*PIECES, " ", " ", " "]), max_size=14).map("".join)


def keys_of(text: str) -> list[str]:
    return [token.key for token in tokens_of(text)]


def read(agreement: LocalAgreement, *texts: str) -> list[str]:
    """What is stable after each reading."""
    found = []
    for text in texts:
        merged = agreement.add(text)
        assert merged.text[: merged.stable] == agreement.stable
        found.append(agreement.stable)
    return found


# ── words ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("Hello, world!", ["hello", "world"]),
        ("  two  blanks ", ["two", "blanks"]),
        ("don't — wait...", ["dont", "wait"]),
        ("", []),
        ("... — ?!", []),
        ("🙂 ❤\ufe0f \u0301", []),
        ("你好, World", ["你", "好", "world"]),
        ("用Python写", ["用", "python", "写"]),
        ("की का", ["की", "का"]),
        ("ที่", ["ที่"]),
        ("cafe\u0301.", ["cafe\u0301"]),
    ],
)
def test_words_are_what_has_letters_or_digits(text: str, keys: list[str]) -> None:
    assert keys_of(text) == keys


def test_a_word_says_where_it_stands_and_where_its_punctuation_begins() -> None:
    (token,) = tokens_of(' "Hello",')
    assert (token.stem, token.whole, token.begin, token.stem_end) == ('"Hello', '"Hello",', 1, 7)


@pytest.mark.parametrize(
    ("before", "behind", "joined"),
    [
        ("a", "b", "a b"),
        ("a ", "b", "a b"),
        ("a", " b", "a b"),
        ("", "b", "b"),
        ("a", "", "a"),
        ("你", "好", "你好"),
        ("你。", "好", "你。好"),
        ("abc", "好", "abc好"),
        ("好", "abc", "好abc"),
        ("ที่", "นี", "ที่นี"),
        ("a.", '"b', 'a. "b'),
    ],
)
def test_pieces_are_joined_as_their_script_does(before: str, behind: str, joined: str) -> None:
    assert join(before, behind) == joined


# ── agreement ─────────────────────────────────────────────────────────────────────────────────


def test_one_reading_is_believed_where_one_is_enough() -> None:
    assert read(LocalAgreement(1), "the cat", "the cat sat") == ["the cat", "the cat sat"]


def test_two_readings_in_a_row_have_to_agree() -> None:
    texts = ("the cap", "the cat sat", "the cat sat on", "a dog")
    assert read(LocalAgreement(2), *texts) == ["", "the", "the cat sat", "the cat sat"]


def test_three_readings_in_a_row_have_to_agree() -> None:
    texts = ("the cat", "the cap sat", "the cat sat", "the cat sat on", "the cat sat on")
    assert read(LocalAgreement(3), *texts) == ["", "", "the", "the", "the cat sat"]


def test_of_the_last_word_agreed_on_the_word_alone_is_committed() -> None:
    agreement = LocalAgreement(2)
    assert read(agreement, "Yes. But", "Yes, but") == ["", "Yes"]
    assert agreement.add("Yes! But no").text == "Yes! But no"
    assert read(LocalAgreement(2), "Yes.", "Yes, but no") == ["", "Yes"]


def test_words_are_compared_as_they_are_written() -> None:
    assert read(LocalAgreement(2), "the Cat sat", "the cat sat") == ["", "the"]
    assert read(LocalAgreement(2), "well, then", "well then go") == ["", "well"]


def test_a_later_reading_that_says_it_otherwise_is_laid_beside_what_is_committed() -> None:
    agreement = LocalAgreement(2)
    read(agreement, "the cat sat", "the cat sat")
    assert agreement.merge("the hat sat on it").text == "the cat sat on it"
    assert agreement.merge("cat sat on it").text == "the cat sat on it"
    assert agreement.merge("oh the cat sat, on it").text == "the cat sat, on it"
    assert agreement.merge("").text == "the cat sat"
    assert not agreement.merge("the hat sat on it").is_literal
    assert agreement.merge("the cat sat on it").is_literal


def test_a_vowel_sign_belongs_to_its_word() -> None:
    agreement = LocalAgreement(2)
    read(agreement, "राम की", "राम की किताब")
    assert agreement.stable == "राम की"
    assert agreement.merge("राम का किताब").text == "राम की किताब"
    agreement = LocalAgreement(2)
    read(agreement, "ที่", "ที่นี่")
    assert agreement.stable == "ที่"


def test_nothing_is_committed_where_nothing_may_be_but_the_reading_counts() -> None:
    agreement = LocalAgreement(2)
    agreement.add("the cat", may_agree=False)
    assert agreement.add("the cat", may_agree=False).stable == 0
    assert agreement.add("the cat sat").stable == 7


@pytest.mark.parametrize(
    ("own_stable", "stable"), [(0, 0), (6, 0), (7, 7), (8, 7), (11, 7), (99, 7)]
)
def test_an_engine_may_commit_by_itself_but_for_the_last_word(own_stable: int, stable: int) -> None:
    assert LocalAgreement(2).add("the_cat sat", own_stable=own_stable).stable == stable


def test_words_that_are_dropped_are_compared_no_more() -> None:
    agreement = LocalAgreement(2)
    read(agreement, "the cat. sat", "the cat. sat on")
    assert agreement.holds(["the", "cat"])
    assert not agreement.holds(["the", "sat"])
    assert agreement.drop(2, "the cat. sat on") == 9
    assert agreement.stable == "sat"
    assert agreement.add("sat on a").text == "sat on a"
    assert agreement.stable == "sat on"
    agreement.lead_in("the cat. ")
    assert agreement.stable == "the cat. sat on"
    assert agreement.merge("the cat sat on a mat").text == "the cat. sat on a mat"


def test_punctuation_that_is_committed_is_not_said_twice() -> None:
    agreement = LocalAgreement(1)
    agreement.add("the cat.")
    assert agreement.drop(2, "the cat.") == 8
    agreement.lead_in("the cat.")
    assert agreement.stable == "the cat."
    assert agreement.merge("the cat. sat").text == "the cat. sat"
    assert agreement.merge("the cat, sat").text == "the cat. sat"


# ── whatever comes ────────────────────────────────────────────────────────────────────────────


@given(
    n=st.integers(1, 3),
    readings=st.lists(st.tuples(TEXTS, st.integers(0, 40), st.booleans()), max_size=8),
    drops=st.integers(0, 3),
)
@examples(400)
def test_stable_text_only_grows(n: int, readings: list[tuple[str, int, bool]], drops: int) -> None:
    agreement, before = LocalAgreement(n), ""
    for text, own_stable, may_agree in readings:
        known = agreement.stable
        laid = agreement.merge(text)
        assert laid.text.startswith(known)
        assert laid.text[laid.stable :] == text[laid.taken_from :]
        merged = agreement.add(text, own_stable=own_stable, may_agree=may_agree)
        assert merged.text == laid.text
        assert agreement.stable.startswith(known)
        assert merged.text[: merged.stable] == agreement.stable
        assert agreement.holds(keys_of(agreement.stable))
        count = min(drops, len(keys_of(agreement.stable)))
        if count:
            cut = agreement.drop(count, merged.text)
            before += merged.text[:cut]
            assert merged.text[cut:].startswith(agreement.stable)
            assert agreement.holds(keys_of(agreement.stable))


@given(n=st.integers(1, 3), text=TEXTS, times=st.integers(1, 5))
@examples(200)
def test_readings_that_are_alike_are_told_as_they_are(n: int, text: str, times: int) -> None:
    agreement = LocalAgreement(n)
    for _ in range(times):
        assert agreement.add(text).text == text
    assert agreement.merge(text).is_literal
    assert keys_of(agreement.stable) == (keys_of(text) if times >= n else [])


@given(text=TEXTS, more=TEXTS, n=st.integers(1, 3))
@examples(200)
def test_a_reading_that_goes_on_is_told_as_it_is(text: str, more: str, n: int) -> None:
    """What is committed of a text stands at the beginning of all that begin with its words."""
    agreement = LocalAgreement(n)
    for _ in range(n):
        agreement.add(text)
    longer = f"{text} {more}"
    assert agreement.merge(longer).text == longer


@pytest.mark.parametrize(
    "text",
    [
        "a " * 32768,
        "ab" * 32768,
        "你" * 65536,
        "ั" * 65535 + "a",
        "!" * 65536,
        "你" + "!" * 65534 + "a",
        " " * 65536,
        "a b c d e f g h " * 4096,
    ],
    ids=["a", "ab", "han", "marks", "!", "tail", "blanks", "letters"],
)
def test_hostile_text_is_laid_beside_another_in_bounded_time(text: str) -> None:
    began_s = time.process_time()
    for n in (1, 2):
        agreement = LocalAgreement(n)
        for heard in (text, text, "b " + text, text[::-1], "c " * 30000, ""):
            known = agreement.stable
            agreement.add(heard, own_stable=len(heard))
            assert agreement.stable.startswith(known)
        join(text, "b")
    assert time.process_time() - began_s < 15.0
