"""A model as its worker uses it: alone and in batches, and what it says of itself."""

from typing import Any

import numpy as np
import pytest

from asrd import (
    Abilities,
    DecodeCancelled,
    Hypothesis,
    ModelUnavailable,
    ProviderError,
    RequestUnsupported,
)
from asrd.abilities import LONGEST_WINDOW_S
from asrd.audio import SAMPLE_RATE
from asrd.providers import calls
from asrd.providers.engine import MOST, MOST_WINDOWS, Engine, blame, checked
from support.able import AbleModel
from support.workers import item, texts

GAVE_UP = "it gave up a window that was wanted"


def go_on() -> bool:
    return True


def engine_of(**settings: Any) -> tuple[Engine, AbleModel]:
    model = AbleModel(settings)
    return Engine(model), model


def read(engine: Engine, *items: calls.Item) -> list[str]:
    outcomes = engine.read(items, go_on)
    return texts(calls.Decoded(id=1, outcomes=outcomes, decode_s=0.0))


# ── whose fault ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ModelUnavailable("get it"), "unavailable", "get it"),
        (RequestUnsupported("no"), "request", "no"),
        (DecodeCancelled("enough"), "cancelled", "enough"),
        (ProviderError("é"), "provider", "é"),
        (ProviderError("half \ud800"), "provider", "half ?"),
        (ValueError("bad"), "internal", "ValueError: bad"),
        (
            ImportError("no wheel"),
            "provider",
            "its engine cannot be imported (no wheel); install that package again",
        ),
    ],
)
def test_an_error_is_told_with_whose_fault_it_is(
    error: Exception, kind: calls.FailureKind, message: str
) -> None:
    told = blame(error)
    assert told == calls.NotRead(kind=kind, message=message)
    calls.check(calls.Decoded(id=1, outcomes=[told], decode_s=0.0))


# ── abilities ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "given",
    [
        Abilities(),
        Abilities(max_batch=MOST_WINDOWS, decodes_at_once=MOST, can_abort=True),
        Abilities(partial_contexts_s=(0.5, 4.0, 30.0), final_contexts_s=(30.0,)),
    ],
)
def test_abilities_that_make_sense_are_taken_as_they_are(given: Abilities) -> None:
    assert checked(given) == given


def test_numbers_of_another_kind_become_what_can_be_sent() -> None:
    found = checked(Abilities(partial_contexts_s=[4, np.float64(30)]))  # type: ignore[arg-type]
    assert found.partial_contexts_s == (4.0, 30.0)
    assert [type(each) for each in found.partial_contexts_s] == [float, float]
    calls.check(calls.Loaded(id=1, load_s=0.0, warm_up_s=0.0, abilities=found))


def test_a_model_is_asked_for_no_more_windows_in_one_call_than_can_be_sent() -> None:
    assert checked(Abilities(max_batch=MOST)).max_batch == MOST_WINDOWS
    longest = item(round(LONGEST_WINDOW_S * SAMPLE_RATE), prompt="é" * 2000)
    call = calls.Decode(id=2**60, items=[longest] * MOST_WINDOWS)
    assert len(calls.frame(call)) < calls.MAX_CALL_BYTES


@pytest.mark.parametrize("name", ["max_batch", "decodes_at_once"])
@pytest.mark.parametrize("value", [0, -1, MOST + 1, 1.0, True, "2", None, np.int64(2)], ids=repr)
def test_a_count_that_makes_no_sense_is_told_by_its_name(name: str, value: Any) -> None:
    with pytest.raises(ProviderError, match=rf"^the model's abilities\.{name} must be a whole"):
        checked(Abilities(**{name: value}))


@pytest.mark.parametrize("name", ["partial_contexts_s", "final_contexts_s"])
@pytest.mark.parametrize(
    "value",
    [
        (),
        (30.0, 4.0),
        (4.0, 4.0),
        (0.0, 30.0),
        (-1.0,),
        (float("nan"),),
        (float("inf"),),
        (True, 30.0),
        ("4",),
        30.0,
        None,
        {4.0: 30.0},
    ],
    ids=repr,
)
def test_contexts_that_make_no_sense_are_told_by_their_name(name: str, value: Any) -> None:
    with pytest.raises(ProviderError, match=rf"^the model's abilities\.{name} must be a tuple"):
        checked(Abilities(**{name: value}))


@pytest.mark.parametrize("given", [None, {"max_batch": 4}, Abilities], ids=repr)
def test_what_is_no_abilities_at_all_is_told_so(given: object) -> None:
    with pytest.raises(ProviderError, match=r"abilities must be asrd\.Abilities"):
        checked(given)


# ── reading ───────────────────────────────────────────────────────────────────────────────────


def test_one_window_is_never_a_batch() -> None:
    engine, model = engine_of(max_batch=8)
    assert read(engine, item(5)) == ["5 alone"]
    assert read(engine) == []
    assert model.calls == [1]


def test_several_windows_are_read_in_one_call_where_the_model_can() -> None:
    engine, model = engine_of(max_batch=8)
    assert read(engine, item(5), item(6), item(7)) == ["5 of 3", "6 of 3", "7 of 3"]
    assert model.calls == [3]


def test_a_model_that_cannot_is_given_them_one_by_one() -> None:
    engine, model = engine_of()
    assert read(engine, item(5), item(6, prompt="fail"), item(7)) == [
        "5 alone",
        "!provider",
        "7 alone",
    ]
    assert model.calls == [1, 1, 1]


def test_a_model_is_never_given_more_than_it_can() -> None:
    engine, model = engine_of(max_batch=2)
    assert read(engine, *(item(n) for n in range(1, 6))) == [
        "1 of 2",
        "2 of 2",
        "3 of 2",
        "4 of 2",
        "5 alone",
    ]
    assert model.calls == [2, 2, 1]


def test_one_bad_window_of_a_batch_fails_alone_and_with_its_own_kind() -> None:
    engine, model = engine_of(max_batch=8)
    bad = ("fail", "refuse", "nonsense", "crash", "import")
    assert read(engine, item(1), *(item(prompt=deed) for deed in bad), item(2)) == [
        "1 of 7",
        "!provider",
        "!request",
        "!internal",
        "!internal",  # an exception in place of an answer is none, unless it is a ProviderError
        "!internal",
        "2 of 7",
    ]
    assert model.calls == [7]


@pytest.mark.parametrize(
    ("batch_deed", "reason"),
    [
        ("raise", "RuntimeError: out of memory"),
        ("provider_error", "too much at once"),
        ("not_implemented", "NotImplementedError"),
        ("miscount", "it answered 1 windows of 3"),
        ("none", "TypeError"),
    ],
)
def test_a_batch_that_cannot_be_read_so_is_read_one_by_one_and_that_is_told_once(
    batch_deed: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, model = engine_of(max_batch=8, batch_deed=batch_deed)
    for _ in range(2):
        assert read(engine, item(1), item(2, prompt="crash"), item(3)) == [
            "1 alone",
            "!internal",
            "3 alone",
        ]
    assert model.calls == [3, 1, 1, 1] * 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


@pytest.mark.parametrize("deed", ["fail", "refuse", "nonsense", "crash", "import"])
def test_a_single_window_that_fails_has_the_shape_of_a_batch(deed: str) -> None:
    engine, _ = engine_of(max_batch=8)
    assert read(engine, item(prompt=deed))[0].startswith("!")


@pytest.mark.parametrize("max_batch", [1, 8])
def test_windows_that_nobody_wants_any_more_end_the_call(max_batch: int) -> None:
    engine, _ = engine_of(max_batch=max_batch)
    with pytest.raises(DecodeCancelled):
        engine.read([item(1), item(prompt="work_on"), item(2)], lambda: False)


@pytest.mark.parametrize("batch_deed", ["raise", "miscount"])
def test_windows_of_a_batch_that_failed_are_not_read_alone_once_nobody_wants_them(
    batch_deed: str,
) -> None:
    engine, model = engine_of(max_batch=8, batch_deed=batch_deed)
    with pytest.raises(DecodeCancelled):
        engine.read([item(n) for n in range(1, 9)], lambda: False)
    assert model.calls == [8]
    answers = iter([True, True, False])
    with pytest.raises(DecodeCancelled):
        engine.read([item(n) for n in range(1, 9)], lambda: next(answers))
    assert model.calls == [8, 8, 1, 1]


@pytest.mark.parametrize(("max_batch", "sizes"), [(1, [1]), (2, [2])])
def test_more_windows_than_a_model_takes_are_not_begun_once_nobody_wants_them(
    max_batch: int, sizes: list[int]
) -> None:
    engine, model = engine_of(max_batch=max_batch)
    with pytest.raises(DecodeCancelled):
        engine.read([item(n) for n in range(1, 6)], lambda: False)
    assert model.calls == sizes


def test_a_model_that_gives_up_what_is_wanted_is_at_fault() -> None:
    """Else its window would be put back and given to it again, for ever."""
    engine, model = engine_of()
    (alone,) = engine.read([item(prompt="give_up")], go_on)
    assert isinstance(alone, calls.NotRead)
    assert (alone.kind, alone.message) == ("provider", f"{GAVE_UP}: had enough")
    with pytest.raises(DecodeCancelled, match=r"^had enough$"):
        engine.read([item(prompt="give_up")], lambda: False)

    engine, model = engine_of(max_batch=8, batch_deed="cancel")
    assert read(engine, item(1), item(prompt="give_up"), item(3)) == [
        "1 alone",
        "!provider",
        "3 alone",
    ]
    assert model.calls == [3, 1, 1, 1]


def test_a_batch_that_answers_a_wanted_window_as_cancelled_is_at_fault_for_that_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, model = engine_of(max_batch=8)
    answers = [DecodeCancelled("had enough"), Hypothesis(text="read")]
    monkeypatch.setattr(model, "decode_batch", lambda requests: answers)
    first, second = engine.read([item(1), item(2)], go_on)
    assert first == calls.NotRead(kind="provider", message=f"{GAVE_UP}: had enough")
    assert second == calls.Read(hypothesis=Hypothesis(text="read"))
    with pytest.raises(DecodeCancelled):
        engine.read([item(1), item(2)], lambda: False)


def test_the_windows_of_a_call_share_what_is_asked_for_and_keep_what_is_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, model = engine_of(max_batch=8)
    seen: list[Any] = []

    def note(requests: Any) -> list[Any]:
        seen.extend(requests)
        return [ProviderError("noted") for _ in requests]

    monkeypatch.setattr(model, "decode_batch", note)
    engine.read([item(1, language="de"), item(2, prompt="x")], go_on)
    assert [request.options.language for request in seen] == ["de", None]
    assert [request.options.prompt for request in seen] == [None, "x"]
    assert all(request.options.keep_going is go_on for request in seen)
    assert [request.audio.size for request in seen] == [1, 2]
    assert not any(request.audio.flags.writeable for request in seen)
