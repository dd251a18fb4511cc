"""What core and worker say to each other survives the way there."""

from typing import Any, cast

import msgspec
import numpy as np
import pytest

from asrd.abilities import Abilities
from asrd.choices import WarmUp
from asrd.framing import HEADER, FrameSplitter
from asrd.providers import calls
from asrd.transcript import Hypothesis, Word

HYPOTHESIS = Hypothesis(
    text="two words",
    words=(Word(word="two", start=0.0, end=0.5, probability=0.25), Word(word="w", start=1, end=2)),
    language="en",
    confidence=0.5,
)

ITEM = calls.Item(
    audio=bytes(range(256)),
    language=None,
    task="translate",
    words=True,
    prompt="é",
    is_partial=True,
)

CALLS: list[calls.AnyCall] = [
    calls.LoadModel(
        id=1, plugin="p", provider="q", model="m", settings={"a": 1, "b": 0.5, "c": True, "d": "x"}
    ),
    calls.LoadModel(
        id=1, plugin="p", provider="q", model="m", settings={}, warm_up=WarmUp.STANDARD
    ),
    calls.LoadVoiceActivity(id=2),
    calls.Decode(id=2**40, items=[ITEM]),
    calls.Decode(id=3, items=[ITEM, msgspec.structs.replace(ITEM, language="de"), ITEM]),
    calls.Score(id=4, streams=[calls.Windows(windows=b"1234", state=b"")]),
    calls.Abort(id=5),
    calls.MeasureGpu(id=6),
]
ANSWERS: list[calls.AnyAnswer] = [
    calls.Loaded(id=1, load_s=0.5, warm_up_s=0.0),
    calls.Loaded(
        id=1,
        load_s=0.5,
        warm_up_s=0.5,
        warm_up=[calls.WarmUpDecode(audio_s=0.5, took_s=0.25)],
        gpu_bytes=2**40,
        abilities=Abilities(
            max_batch=16,
            partial_contexts_s=(4.0, 8.0, 30.0),
            final_contexts_s=(30.0,),
            decodes_at_once=2,
            can_abort=True,
        ),
    ),
    calls.Decoded(id=2, outcomes=[calls.Read(hypothesis=HYPOTHESIS)], decode_s=0.125),
    calls.Decoded(
        id=2,
        outcomes=[
            calls.Read(hypothesis=Hypothesis(text="")),
            calls.NotRead(kind="request", message="é"),
        ],
        decode_s=0.125,
    ),
    calls.Scored(id=3, streams=[calls.Probabilities(probabilities=b"12", state=b"34")]),
    calls.Failed(id=4, kind="unavailable", message="get it"),
    calls.Failed(id=4, kind="cancelled", message=""),
    calls.Progress(id=5),
    calls.Progress(id=5, is_loaded=True),
    calls.GpuMeasured(id=6, gpu_bytes=2**40, gpu_total_bytes=2**41, gpu_free_bytes=2**39),
]


def payload(message: calls.AnyCall | calls.AnyAnswer) -> memoryview:
    """What comes out at the other end of the framing."""
    splitter = FrameSplitter(calls.MAX_CALL_BYTES)
    (only,) = splitter.feed(memoryview(calls.frame(message)))
    return only


@pytest.mark.parametrize("call", CALLS, ids=lambda call: type(call).__name__)
def test_a_call_arrives_as_it_was_made(call: calls.AnyCall) -> None:
    assert calls.read_call(payload(call)) == call


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_arrives_as_it_was_given(answer: calls.AnyAnswer) -> None:
    calls.check(answer)
    assert calls.read_answer(payload(answer)) == answer


def test_a_frame_bears_its_length() -> None:
    frame = calls.frame(CALLS[1])
    assert HEADER.unpack_from(frame) == (len(frame) - HEADER.size,)


@pytest.mark.parametrize(
    "junk", [b"", b"\xc1", b"\x81", msgspec.msgpack.encode({"answer": "loaded"}), b"\x93\x01"]
)
def test_junk_is_refused_as_one_kind_of_error(junk: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        calls.read_answer(memoryview(junk))


@pytest.mark.parametrize(
    "hypothesis",
    [
        "a text alone",
        Hypothesis(text=cast("Any", None)),
        Hypothesis(text="a", words=cast("Any", "words")),
        Hypothesis(text="a", confidence=cast("Any", np.float32(0.5))),
        Hypothesis(text="a", words=(Word(word="a", start=cast("Any", "0"), end=1.0),)),
        object(),
    ],
    ids=repr,
)
def test_what_a_plugin_got_wrong_is_found_before_it_is_sent(hypothesis: Any) -> None:
    answer = calls.Decoded(id=1, outcomes=[calls.Read(hypothesis=hypothesis)], decode_s=0.0)
    with pytest.raises((TypeError, msgspec.ValidationError)):
        calls.check(answer)
