"""What a model answers is sent only where it makes sense."""

from typing import Any

import pytest

from asrd import Boundary, Hypothesis, ProviderError
from asrd.providers import calls
from asrd.providers.readings import read_of

NAN, INF = float("nan"), float("inf")


def boundaries(*pairs: tuple[Any, Any]) -> tuple[Boundary, ...]:
    return tuple(Boundary(characters=characters, at=at) for characters, at in pairs)


@pytest.mark.parametrize(
    "hypothesis",
    [
        Hypothesis(text=""),
        Hypothesis(text="héllo", stable=5),
        Hypothesis(text="one two", boundaries=boundaries((0, -0.1), (3, 1.0), (3, 1.0), (7, 2.5))),
        Hypothesis(text="", boundaries=boundaries((0, 0.0))),
    ],
)
def test_a_hypothesis_that_makes_sense_is_passed_on(hypothesis: Hypothesis) -> None:
    assert read_of(hypothesis) == calls.Read(hypothesis=hypothesis)


@pytest.mark.parametrize("stable", [-1, 6, 2**40])
def test_a_stable_part_that_is_not_in_the_text_is_told(stable: int) -> None:
    with pytest.raises(ProviderError, match=rf"^its hypothesis\.stable .* 5 .*, not {stable}$"):
        read_of(Hypothesis(text="héllo", stable=stable))


@pytest.mark.parametrize(
    "given",
    [
        boundaries((-1, 0.0)),
        boundaries((6, 0.0)),
        boundaries((3, 0.0), (2, 1.0)),
        boundaries((2, 1.0), (3, 0.5)),
        boundaries((2, NAN)),
        boundaries((2, 1.0), (3, NAN)),
        boundaries((2, INF)),
        boundaries((2, -INF)),
    ],
)
def test_boundaries_that_make_no_sense_are_told(given: tuple[Boundary, ...]) -> None:
    with pytest.raises(ProviderError, match=r"^its hypothesis\.boundaries must be in order"):
        read_of(Hypothesis(text="héllo", boundaries=given))


@pytest.mark.parametrize(
    "hypothesis",
    [
        None,
        "text",
        Hypothesis(text=["no", "text"]),  # type: ignore[arg-type]
        Hypothesis(text="x", stable=0.5),  # type: ignore[arg-type]
        Hypothesis(text="x", stable=True),
        Hypothesis(text="x", boundaries=boundaries(("1", 0.0))),
        Hypothesis(text="x", boundaries=((1, 0.0),)),  # type: ignore[arg-type]
        Hypothesis(text="half \ud800"),
    ],
    ids=repr,
)
def test_what_is_not_of_the_type_is_no_answer(hypothesis: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        read_of(hypothesis)
