"""faster-whisper below its `transcribe`: what is read together reads as it would alone."""

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from asrd import (
    DecodeCancelled,
    DecodeOptions,
    DecodeRequest,
    Hypothesis,
    ProviderError,
    RequestUnsupported,
    Setting,
)
from asrd.providers import calls
from asrd_faster_whisper import FasterWhisperProvider
from asrd_faster_whisper.budget import CALL_BYTES, Budget, budget_of
from asrd_faster_whisper.model import FasterWhisperModel
from asrd_faster_whisper.vocabulary import MOST_TOKENS
from asrd_faster_whisper.weights import DecoderShape, decoder_shape
from support.audio import Samples, read_wav
from support.multilingual_whisper import write_multilingual

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(folder: Path, **settings: Setting) -> FasterWhisperModel:
    model = FasterWhisperProvider().load(str(folder), {"cpu_threads": 1, **settings})
    return cast("FasterWhisperModel", model)


@pytest.fixture(scope="module")
def english(tiny_whisper: "TinyWhisper") -> FasterWhisperModel:
    return load(tiny_whisper.ctranslate2)


@pytest.fixture(scope="module")
def multilingual_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("multilingual")
    write_multilingual(folder)
    return folder


@pytest.fixture(scope="module")
def multilingual(multilingual_folder: Path) -> FasterWhisperModel:
    return load(multilingual_folder, temperature_fallback=False)


@pytest.fixture(scope="module")
def recordings(tiny_samples: "list[Recording]") -> list[Samples]:
    return [read_wav(item.path) for item in tiny_samples]


def requests_of(
    audios: Sequence[Samples], options: Sequence[DecodeOptions], count: int
) -> list[DecodeRequest]:
    """So many pairs, each list taken round and round."""
    pairs = islice(zip(cycle(audios), cycle(options), strict=False), count)
    return [DecodeRequest(audio=audio, options=asked) for audio, asked in pairs]


def sizes_of_calls(model: FasterWhisperModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many windows each call of the decoder takes, from now on."""
    sizes: list[int] = []
    plain = model._watched.generate

    def generate(outputs: Any, prompts: list[list[int]], **options: Any) -> Any:
        sizes.append(len(prompts))
        return plain(outputs, prompts, **options)

    monkeypatch.setattr(model._watched, "generate", generate, raising=False)
    return sizes


def assert_equal(read: Hypothesis | ProviderError, alone: Hypothesis) -> None:
    """The last bits of probabilities may differ: sums are taken in another order."""
    assert isinstance(read, Hypothesis)
    assert (read.text, read.language) == (alone.text, alone.language)
    assert read.confidence == pytest.approx(alone.confidence, abs=1e-3)
    assert [word.word for word in read.words] == [word.word for word in alone.words]
    for word, other in zip(read.words, alone.words, strict=True):
        assert word.start == pytest.approx(other.start, abs=0.021)
        assert word.end == pytest.approx(other.end, abs=0.021)


def assert_reads_as_alone(model: FasterWhisperModel, requests: list[DecodeRequest]) -> None:
    alone = [model.decode(request.audio, request.options) for request in requests]
    together = model.decode_batch(requests)
    for read, other in zip(together, alone, strict=True):
        assert_equal(read, other)


@pytest.mark.parametrize("count", [2, 5, 8])
@pytest.mark.parametrize(
    "kind",
    [DecodeOptions(), DecodeOptions(words=True), DecodeOptions(is_partial=True)],
    ids=["finals", "words", "partials"],
)
def test_a_batch_reads_as_its_windows_alone(
    english: FasterWhisperModel, recordings: list[Samples], kind: DecodeOptions, count: int
) -> None:
    prompts = (None, "up up", "left", "down one", None)
    options = [
        DecodeOptions(words=kind.words, is_partial=kind.is_partial, prompt=prompt)
        for prompt in prompts
    ]
    assert_reads_as_alone(english, requests_of(recordings, options, count))


@pytest.mark.parametrize("is_partial", [False, True])
def test_a_batch_of_many_languages_and_tasks_reads_as_its_windows_alone(
    multilingual: FasterWhisperModel, recordings: list[Samples], is_partial: bool
) -> None:
    options = [
        DecodeOptions(is_partial=is_partial),
        DecodeOptions(is_partial=is_partial, language="de-AT", task="translate"),
        DecodeOptions(is_partial=is_partial, language="fr", prompt="up up"),
        DecodeOptions(is_partial=is_partial, task="translate"),
        DecodeOptions(is_partial=is_partial, language="ru"),
    ]
    requests = requests_of(recordings, options, 8)
    assert_reads_as_alone(multilingual, requests)


def test_languages_and_tasks_reach_the_engine(
    multilingual: FasterWhisperModel, tiny_samples: "list[Recording]"
) -> None:
    """Else the batches of many languages would prove nothing."""
    audio = next(read_wav(item.path) for item in tiny_samples if item.path.stem == "phrase_2")
    asked = [
        DecodeOptions(language=None),
        DecodeOptions(language="de"),
        DecodeOptions(language="fr"),
        DecodeOptions(language="fr", task="translate"),
    ]
    read = multilingual.decode_batch(requests_of([audio], asked, len(asked)))
    assert [(one.language, one.text) for one in read if isinstance(one, Hypothesis)] == [
        ("ru", "three no"),
        ("de", ""),
        ("fr", "three no"),
        ("fr", ""),
    ]


def test_a_batch_of_a_model_of_real_shape_reads_as_its_windows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    shapes: Any = __import__("shapes")
    model = load(shapes.make_model("tiny", tmp_path), short_context="always")
    random = np.random.default_rng(0)
    audios = [random.uniform(-0.1, 0.1, 16_000 * s).astype(np.float32) for s in (1, 2, 3, 4)]
    assert_reads_as_alone(model, requests_of(audios, [DecodeOptions(is_partial=True)], 8))
    read = model.decode(audios[0], DecodeOptions())
    assert len(read.text.split()) == shapes.WORDS


def test_only_windows_that_failed_are_decoded_again(
    english: FasterWhisperModel, recordings: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "asrd_faster_whisper.attempts._repetition",
        lambda text: 99.0 if text == "open nine one stop" else 1.0,
    )
    monkeypatch.setattr(english._reader, "_temperatures", (0.0, 0.0, 0.0))
    sizes: list[int] = []
    plain = english._watched.generate

    def generate(outputs: Any, prompts: list[list[int]], **options: Any) -> Any:
        sizes.append(len(prompts))
        assert outputs.shape[0] == len(prompts)
        return plain(outputs, prompts, **options)

    monkeypatch.setattr(english._watched, "generate", generate, raising=False)
    short = [audio for audio in recordings if len(audio) < 10 * 16_000]
    read = english.decode_batch(requests_of(short, [DecodeOptions()], len(short)))
    assert sizes == [len(short), 1, 1]
    assert "open nine one stop" in [one.text for one in read if isinstance(one, Hypothesis)]


def test_an_unknown_language_is_the_fault_of_one_window(
    multilingual: FasterWhisperModel, recordings: list[Samples]
) -> None:
    languages = ("de", "elvish", None, "fra")
    options = [DecodeOptions(language=language) for language in languages]
    german, elvish, detected, misspelled = multilingual.decode_batch(
        requests_of(recordings, options, 4)
    )
    assert_equal(german, multilingual.decode(recordings[0], options[0]))
    assert_equal(detected, multilingual.decode(recordings[2], options[2]))
    assert isinstance(elvish, RequestUnsupported)
    assert "no language 'elvish'; give a code such as 'en'" in str(elvish)
    assert isinstance(misspelled, RequestUnsupported)
    assert "no language 'fra'; did you mean 'fr'?" in str(misspelled)
    with pytest.raises(RequestUnsupported, match="'elvish'"):
        multilingual.decode(recordings[1], options[1])


def test_a_language_that_a_model_is_too_old_for_is_none_of_its_languages(
    multilingual: FasterWhisperModel,
    recordings: list[Samples],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`yue` is in the engine's list of languages and not in the vocabulary of most models."""
    assert "yue" in multilingual._engine.supported_languages
    sizes = sizes_of_calls(multilingual, monkeypatch)
    options = [DecodeOptions(language=language) for language in ("de", "yue", "fr")]
    german, cantonese, french = multilingual.decode_batch(requests_of(recordings, options, 3))
    assert isinstance(german, Hypothesis)
    assert isinstance(french, Hypothesis)
    assert isinstance(cantonese, RequestUnsupported)
    assert "no language 'yue'; give a code" in str(cantonese)
    assert sizes[0] == 2


CONTROLS = ("<|startoftranscript|>", "<|endoftext|>", "<|startofprev|>", "<|notimestamps|>")


@pytest.mark.parametrize("control", CONTROLS)
def test_what_a_client_writes_is_never_a_control_token(
    english: FasterWhisperModel, recordings: list[Samples], control: str
) -> None:
    vocabulary = english._vocabulary
    for preface in (
        vocabulary.preface(None, f"up {control} left"),
        vocabulary.preface(f"{control} up", f"left{control}"),
    ):
        assert all(token < vocabulary.end for token in preface[1:])
        assert vocabulary.text(preface).split() == ["up", "left"]
    options = [DecodeOptions(prompt=prompt) for prompt in (None, control, "up", "left")]
    assert_reads_as_alone(english, requests_of(recordings, options, 4))


def test_a_call_takes_no_more_windows_than_its_budget_and_reads_the_same(
    english: FasterWhisperModel, recordings: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = requests_of(recordings, [DecodeOptions(words=True)], 8)
    alone = [english.decode(request.audio, request.options) for request in requests]
    three = Budget(call_bytes=3.9 * 30.0, second_bytes=1)
    monkeypatch.setattr(english._reader, "_budget", three)
    sizes = sizes_of_calls(english, monkeypatch)
    for read, other in zip(english.decode_batch(requests), alone, strict=True):
        assert_equal(read, other)
    assert max(sizes) == 3
    assert sizes[0] == 3


def test_the_budget_of_a_loaded_model_is_that_of_its_decoder(
    english: FasterWhisperModel, tiny_whisper: "TinyWhisper"
) -> None:
    shape = decoder_shape(tiny_whisper.ctranslate2 / "model.bin")
    assert shape == DecoderShape(layers=3, width=64)
    assert english._reader._budget == Budget(
        call_bytes=CALL_BYTES, second_bytes=2 * 3 * 64 * 50 * 4
    )


@pytest.mark.parametrize(
    ("layers", "width", "compute_type", "windows"),
    [
        (6, 512, "int8_float32", 27),
        (24, 1024, "int8_float32", 3),
        (32, 1280, "float32", 2),
        (32, 1280, "float16", 4),
        (32, 1280, "int8_bfloat16", 4),
        (32, 1280, "int16", 2),
        (4, 1280, "float16", 32),
    ],
)
def test_a_large_decoder_takes_few_windows_of_full_context_in_one_call(
    layers: int, width: int, compute_type: str, windows: int
) -> None:
    shape = DecoderShape(layers=layers, width=width)
    budget = budget_of(shape, compute_type=compute_type, device="cpu", num_workers=8)
    assert budget.most_windows(30.0) == windows
    assert budget.most_windows(4.0) >= 7 * windows
    assert budget.most_windows(1e9) == 1


def test_on_a_gpu_all_workers_share_a_quarter_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = 80_000_000_000
    measured = calls.GpuMeasured(id=0, gpu_bytes=1, gpu_total_bytes=free, gpu_free_bytes=free)
    monkeypatch.setattr("asrd_faster_whisper.budget.measure", lambda call_id: measured)
    assert _gpu_budget(2).call_bytes == free / 8
    assert _gpu_budget(1).most_windows(30.0) == 81
    nothing = calls.GpuMeasured(id=0, gpu_bytes=0, gpu_total_bytes=0)
    monkeypatch.setattr("asrd_faster_whisper.budget.measure", lambda call_id: nothing)
    assert _gpu_budget(1).call_bytes == CALL_BYTES


def _gpu_budget(num_workers: int) -> Budget:
    """Of a model whose shape nobody knows: the largest's."""
    return budget_of(None, compute_type="float16", device="cuda", num_workers=num_workers)


def test_windows_without_audio_read_as_nothing_beside_others(
    english: FasterWhisperModel, recordings: list[Samples]
) -> None:
    audios = [np.zeros(0, np.float32), recordings[0], np.zeros(100, np.float32)]
    nothing, read, little = english.decode_batch(requests_of(audios, [DecodeOptions()], 3))
    assert_equal(read, english.decode(recordings[0], DecodeOptions()))
    assert [one.text for one in (nothing, little) if isinstance(one, Hypothesis)] == ["", ""]


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_batch_that_nobody_wants_stops_at_the_next_call(
    english: FasterWhisperModel, recordings: list[Samples], stop_at: int
) -> None:
    calls: list[int] = []

    def keep_going() -> bool:
        calls.append(1)
        return len(calls) < stop_at

    requests = requests_of(recordings, [DecodeOptions(keep_going=keep_going)], 2)
    with pytest.raises(DecodeCancelled):
        english.decode_batch(requests)
    assert len(calls) == stop_at


def test_an_engine_that_fails_on_a_batch_is_a_providers_error(
    english: FasterWhisperModel, recordings: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(english._watched, "generate", fail, raising=False)
    with pytest.raises(ProviderError, match=r"faster-whisper failed: CUDA failed with error out"):
        english.decode_batch(requests_of(recordings, [DecodeOptions()], 2))


def test_long_names_and_a_long_prompt_leave_half_of_the_decoder_for_the_text(
    tiny_whisper: "TinyWhisper", recordings: list[Samples]
) -> None:
    model = load(tiny_whisper.ctranslate2, hotwords="start stop " * 60)
    preface = model._vocabulary.preface("start stop " * 60, "left " * 400)
    assert len(preface) == MOST_TOKENS // 2
    assert len(model._vocabulary.preface("start stop " * 400, "left")) == MOST_TOKENS // 2
    assert len(model._vocabulary.preface(None, "left " * 400)) == MOST_TOKENS // 2
    assert model._vocabulary.preface(" ", "") == []
    options = [DecodeOptions(prompt="left " * 400), DecodeOptions(prompt="left " * 400)]
    assert_reads_as_alone(model, requests_of(recordings, options, 2))


class OnGpu:
    """The engine as it is on a GPU, as far as a CPU can tell: all windows encoded in one call."""

    device = "cuda"

    def __init__(self, whisper: Any) -> None:
        self._whisper = whisper
        self.encoded: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whisper, name)

    def encode(self, features: Any) -> Any:
        self.encoded.append(features.shape[0])
        return self._whisper.encode(features)


def test_a_gpu_encodes_a_batch_at_once_and_reads_parts_of_it(
    english: FasterWhisperModel, recordings: list[Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are what words, and windows that are decoded again, need."""
    options = [DecodeOptions(words=True), DecodeOptions(words=True, prompt="up up")]
    requests = requests_of(recordings[:4], options, 4)
    alone = [english.decode(request.audio, request.options) for request in requests]
    on_gpu = OnGpu(english._watched)
    monkeypatch.setattr(english._engine, "model", on_gpu)
    for read, other in zip(english.decode_batch(requests), alone, strict=True):
        assert_equal(read, other)
    assert on_gpu.encoded == [2, 2]  # prompts of different lengths cannot share a decode
