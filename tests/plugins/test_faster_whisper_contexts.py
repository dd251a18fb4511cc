"""faster-whisper's contexts, its rounds through a window, and several threads at once."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest

from asrd import DecodeCancelled, DecodeOptions, Hypothesis, ProviderError, Setting
from asrd_faster_whisper import FasterWhisperProvider
from asrd_faster_whisper.model import FasterWhisperModel
from asrd_faster_whisper.vocabulary import MOST_TOKENS
from support.audio import Samples, read_wav, silence

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

FULL = (30.0,)
ALL = (4.0, 8.0, 12.0, 30.0)
FINAL, PARTIAL = DecodeOptions(), DecodeOptions(is_partial=True)


def load(tiny_whisper: "TinyWhisper", **settings: Setting) -> FasterWhisperModel:
    model = FasterWhisperProvider().load(
        str(tiny_whisper.ctranslate2), {"cpu_threads": 1, **settings}
    )
    return cast("FasterWhisperModel", model)


@pytest.fixture(scope="module")
def model(tiny_whisper: "TinyWhisper") -> FasterWhisperModel:
    return load(tiny_whisper)


@pytest.fixture
def recordings(tiny_samples: "list[Recording]") -> dict[str, Samples]:
    return {item.path.stem: read_wav(item.path) for item in tiny_samples}


class Calls:
    """What was asked of an engine: frames encoded, and windows, longest texts and prompts."""

    def __init__(self, model: FasterWhisperModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[int] = []
        self.batches: list[int] = []
        self.most_tokens: list[int] = []
        encode, generate = model._watched.encode, model._watched.generate

        def watched_encode(features: Any) -> Any:
            self.frames.append(features.shape[2])
            return encode(features)

        def watched_generate(outputs: Any, prompts: list[list[int]], **options: Any) -> Any:
            self.batches.append(len(prompts))
            longest, prompt = options["max_length"], len(prompts[0])
            self.most_tokens.append(min(longest // 2, longest - (prompt - 1)))
            return generate(outputs, prompts, **options)

        monkeypatch.setattr(model._watched, "encode", watched_encode, raising=False)
        monkeypatch.setattr(model._watched, "generate", watched_generate, raising=False)


@pytest.mark.parametrize(
    ("settings", "partials", "finals"),
    [
        ({}, ALL, FULL),
        ({"short_context": "never"}, FULL, FULL),
        ({"short_context": "always"}, ALL, ALL),
    ],
)
def test_the_setting_says_which_windows_are_read_at_a_short_context(
    tiny_whisper: "TinyWhisper",
    monkeypatch: pytest.MonkeyPatch,
    settings: Mapping[str, Setting],
    partials: tuple[float, ...],
    finals: tuple[float, ...],
) -> None:
    model = load(tiny_whisper, **settings)
    assert model.abilities.partial_contexts_s == partials
    assert model.abilities.final_contexts_s == finals
    calls = Calls(model, monkeypatch)
    model.decode(silence(3), PARTIAL)
    model.decode(silence(3), FINAL)
    assert calls.frames == [100 * partials[0], 100 * finals[0]]


@pytest.mark.parametrize(
    ("audio_s", "context_s", "most_tokens"),
    [(0.1, 4, 96), (4, 4, 96), (4.1, 8, 160), (8, 8, 160), (12, 12, 224), (12.1, 30, 224)],
)
@pytest.mark.parametrize("prompt", ["", "left", "left right " * 200])
def test_a_context_bounds_what_can_be_written_whatever_the_prompt(
    model: FasterWhisperModel,
    monkeypatch: pytest.MonkeyPatch,
    audio_s: float,
    context_s: int,
    most_tokens: int,
    prompt: str,
) -> None:
    calls = Calls(model, monkeypatch)
    model.decode(silence(audio_s), DecodeOptions(is_partial=True, prompt=prompt))
    assert calls.frames[0] == 100 * context_s
    assert calls.most_tokens[0] == most_tokens


def test_the_engine_writes_no_more_than_it_is_told(model: FasterWhisperModel) -> None:
    """The rule by which the bound is told to CTranslate2, whatever is written."""
    from asrd_faster_whisper.attempts import _max_length

    for most_tokens in (1, 96, MOST_TOKENS // 2):
        for prompt in (1, 3, most_tokens, MOST_TOKENS // 2):
            longest = _max_length(most_tokens, prompt)
            assert longest <= MOST_TOKENS
            assert min(longest // 2, longest - (prompt - 1)) == most_tokens


def test_short_contexts_read_short_phrases_as_well(
    model: FasterWhisperModel, recordings: dict[str, Samples]
) -> None:
    """Of a model that was trained at full context, which is why finals are read there."""
    for name, text in (("phrase_1", "open nine one stop"), ("six_1", "one nine yes")):
        assert model.decode(recordings[name], PARTIAL).text.startswith(text)


@pytest.mark.parametrize("step_s", [0.0, 0.02, 29.0])
@pytest.mark.parametrize("options", [FINAL, PARTIAL], ids=["final", "partial"])
def test_a_model_that_never_gets_to_the_end_is_ended(
    model: FasterWhisperModel,
    monkeypatch: pytest.MonkeyPatch,
    step_s: float,
    options: DecodeOptions,
) -> None:
    """It completes one segment of that length and begins another, over and over."""
    first = model._vocabulary.first_timestamp
    at = first + round(step_s / 0.02)
    rounds: list[int] = []

    class Result:
        sequences_ids = ([first, 530, at, at],)
        scores = (-0.1,)
        no_speech_prob = 0.0

    def generate(_: Any, prompts: list[list[int]], **__: Any) -> list[Result]:
        rounds.append(len(prompts))
        return [Result() for _ in prompts]

    monkeypatch.setattr(model._watched, "generate", generate, raising=False)
    read = model.decode(silence(3), options)
    assert len(rounds) == {0.0: 1, 0.02: 5, 29.0: 1}[step_s]
    assert read.text == " ".join(["one"] * (len(rounds) if step_s else 0))


def test_threads_read_side_by_side_what_one_reads_alone(
    tiny_whisper: "TinyWhisper", recordings: dict[str, Samples]
) -> None:
    model = load(tiny_whisper, num_workers=2, temperature_fallback=False)
    assert model.abilities.decodes_at_once == 2
    windows = [recordings[name] for name in ("phrase_1", "six_1", "single_2", "noisy_1")] * 2
    asked = [DecodeOptions(words=True), PARTIAL, FINAL, DecodeOptions(prompt="up up")] * 2
    alone = [model.decode(*one) for one in zip(windows, asked, strict=True)]
    start = threading.Barrier(2)

    def read(first: int) -> list[Hypothesis]:
        start.wait(10)
        return [
            model.decode(windows[place], asked[place]) for place in range(first, len(windows), 2)
        ]

    with ThreadPoolExecutor(2) as pool:
        even, odd = pool.map(read, (0, 1))
    together = [one for pair in zip(even, odd, strict=True) for one in pair]
    assert together == alone


def test_a_thread_that_stops_its_decode_stops_no_other(
    tiny_whisper: "TinyWhisper", recordings: dict[str, Samples]
) -> None:
    """The second asks to stop while the first is in the middle of its own."""
    model = load(tiny_whisper, num_workers=2)
    is_begun, is_stopped = threading.Event(), threading.Event()

    def wait_for_the_other() -> bool:
        is_begun.set()
        return is_stopped.wait(10)

    def read() -> Hypothesis:
        return model.decode(recordings["phrase_1"], DecodeOptions(keep_going=wait_for_the_other))

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        assert is_begun.wait(10)
        with pytest.raises(DecodeCancelled):
            model.decode(recordings["six_1"], DecodeOptions(keep_going=lambda: False))
        is_stopped.set()
        assert reading.result(10).text == "open nine one stop"


def test_abilities_are_those_of_the_settings(tiny_whisper: "TinyWhisper") -> None:
    abilities = load(tiny_whisper).abilities
    assert (abilities.max_batch, abilities.decodes_at_once, abilities.can_abort) == (16, 1, False)
    abilities = load(tiny_whisper, max_batch=4, num_workers=3).abilities
    assert (abilities.max_batch, abilities.decodes_at_once) == (4, 3)
    provider = FasterWhisperProvider()
    for settings in ({"max_batch": 0}, {"max_batch": 65}, {"short_context": "finals"}):
        with pytest.raises(ProviderError, match=next(iter(settings))):
            provider.check_settings(cast("dict[str, Setting]", settings))


def test_spreading_gives_each_decode_a_worker_of_one_thread() -> None:
    provider = FasterWhisperProvider()
    assert provider.spread({}, 1) == {}
    assert provider.spread({"beam_size": 2}, 3) == {
        "beam_size": 2,
        "cpu_threads": 1,
        "num_workers": 3,
    }
    own = {"cpu_threads": 2, "num_workers": 2}
    assert provider.spread(own, 8) == own
    assert provider.spread({"cpu_threads": 2}, 8) == {"cpu_threads": 2, "num_workers": 8}
    assert provider.spread({"num_workers": 1}, 8) == {"num_workers": 1}  # which has all the threads
    provider.check_settings(provider.spread({}, 100))
