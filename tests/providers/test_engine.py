"""A model as its worker uses it: alone and in batches, and what it says of itself."""

from typing import Any

import numpy as np
import pytest

from asrd import (
    Abilities,
    DecodeCancelled,
    DecodeOptions,
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
from support.attentive import AttentiveModel, AttentiveReader
from support.workers import item, part, texts

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
        Abilities(feed_s=30.0, decodes_at_once=4),
    ],
)
def test_abilities_that_make_sense_are_taken_as_they_are(given: Abilities) -> None:
    assert checked(given) == given


def test_numbers_of_another_kind_become_what_can_be_sent() -> None:
    given = Abilities(
        partial_contexts_s=[4, np.float64(30)],  # type: ignore[arg-type]
        feed_s=np.float64(0.5),
    )
    found = checked(given)
    assert type(found.feed_s) is float
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


@pytest.mark.parametrize(
    "value", [0, -1.0, 30.1, float("nan"), float("inf"), True, "0.5", (0.5,)], ids=repr
)
def test_a_feed_that_makes_no_sense_is_told_by_its_name(value: Any) -> None:
    with pytest.raises(ProviderError, match=r"^the model's abilities\.feed_s must be None or"):
        checked(Abilities(feed_s=value))


def test_a_model_that_hears_bit_by_bit_reads_no_batches() -> None:
    with pytest.raises(ProviderError, match=r"abilities\.max_batch must be 1 where feed_s is set"):
        Engine(AttentiveModel({"max_batch": 2}))


def test_what_a_model_is_and_what_it_says_of_feeding_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    for model, feed_s in ((AbleModel({}), 0.5), (AttentiveModel({}), None)):
        monkeypatch.setattr(model, "abilities", Abilities(feed_s=feed_s))
        wanted = rf"abilities\.feed_s must be set where .*StreamingModel.* not {feed_s}$"
        with pytest.raises(ProviderError, match=wanted):
            Engine(model)


@pytest.mark.parametrize("value", [0, 1, -1, MOST + 1, 4.0, True, "4", None], ids=repr)
def test_a_number_of_readers_that_makes_no_sense_is_told_by_its_name(value: Any) -> None:
    with pytest.raises(ProviderError, match=r"^the model's most_readers must be .* from 2, its"):
        Engine(AttentiveModel({"most_readers": value, "decodes_at_once": 2}))
    Engine(AttentiveModel({"most_readers": 2, "decodes_at_once": 2}))


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


# ── bit by bit ────────────────────────────────────────────────────────────────────────────────


def attentive(**settings: Any) -> tuple[Engine, AttentiveModel]:
    model = AttentiveModel(settings)
    return Engine(model), model


def test_parts_of_utterances_are_fed_to_their_readers() -> None:
    engine, model = attentive()
    assert read(engine, part(1, 5, is_first=True), part(2, 7, is_first=True)) == ["5", "7"]
    assert read(engine, part(1, 6), part(2, 8, is_last=True)) == ["5 6", "7 8."]
    assert read(engine, part(2, 9)) == ["!forgotten"]
    engine.forget(1)
    assert read(engine, part(1, 9, is_last=True)) == ["!forgotten"]
    assert [reader.closed for reader in model.readers] == [1, 1]


def test_a_reader_is_begun_with_what_is_asked_for_of_the_utterance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, model = attentive()
    seen: list[DecodeOptions] = []
    begin = model.begin

    def note(options: DecodeOptions) -> AttentiveReader:
        seen.append(options)
        return begin(options)

    monkeypatch.setattr(model, "begin", note)
    first = part(1, 5, is_first=True, prompt="x")
    engine.read([first, part(1, 5, prompt="y")], go_on)
    assert [options.prompt for options in seen] == ["x"]


def test_one_more_than_may_be_open_is_forgotten_unless_it_has_to_be_finished() -> None:
    engine, _ = attentive(most_readers=1)
    assert read(engine, part(1, 5, is_first=True), part(2, 6, is_first=True)) == ["5", "!forgotten"]
    assert read(engine, part(2, 6, is_first=True, is_last=True), part(1, 7)) == [
        "6.",
        "!forgotten",
    ]


@pytest.mark.parametrize(
    ("deed", "kind"),
    [
        ("begin:refuse", "request"),
        ("begin:nonsense", "provider"),
        ("feed:fail", "provider"),
        ("feed:raise", "internal"),
        ("feed:nonsense", "provider"),
        ("finish:refuse", "request"),
        ("finish:give_up", "provider"),
    ],
)
def test_what_a_reader_gets_wrong_is_blamed_as_for_a_window(deed: str, kind: str) -> None:
    engine, _ = attentive()
    whole = part(1, 5, is_first=True, is_last=True, prompt=deed)
    assert read(engine, whole, part(1, 5)) == [f"!{kind}", "!forgotten"]


def test_a_part_that_nobody_wants_any_more_ends_the_call_and_its_reader() -> None:
    engine, model = attentive()
    with pytest.raises(DecodeCancelled):
        engine.read([part(1, 5, is_first=True, prompt="feed:work_on")], lambda: False)
    assert [reader.closed for reader in model.readers] == [1]


def test_a_whole_window_is_read_by_a_model_that_hears_bit_by_bit() -> None:
    engine, model = attentive()
    assert read(engine, item(5)) == ["5."]
    assert [reader.closed for reader in model.readers] == [1]


def test_a_model_of_whole_windows_reads_no_parts() -> None:
    engine, model = engine_of()
    assert read(engine, part(1, 5, is_first=True)) == ["!internal"]
    engine.forget(1)
    assert model.calls == []


def test_boundaries_that_make_no_sense_are_the_fault_of_a_window_model_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, model = engine_of()
    monkeypatch.setattr(model, "decode", lambda *_: Hypothesis(text="x", stable=2))
    (outcome,) = engine.read([item()], go_on)
    assert isinstance(outcome, calls.NotRead)
    assert (outcome.kind, "hypothesis.stable" in outcome.message) == ("provider", True)
