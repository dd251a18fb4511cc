"""faster-whisper with the twenty-word model, through CTranslate2 itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from asrd import (
    DecodeCancelled,
    DecodeOptions,
    Gpu,
    Machine,
    Model,
    ProviderError,
)
from asrd_faster_whisper import FasterWhisperProvider
from support.audio import read_wav, silence

if TYPE_CHECKING:
    from conftest import Recording, TinyWhisper

OPTIONS = DecodeOptions()
GB = 1_000_000_000


@pytest.fixture(scope="module")
def model(tiny_whisper: "TinyWhisper") -> Model:
    return FasterWhisperProvider().load(str(tiny_whisper.ctranslate2), {"cpu_threads": 1})


@pytest.fixture
def phrase(tiny_samples: "list[Recording]") -> "Recording":
    return next(item for item in tiny_samples if item.transcript == "open nine one stop")


def test_it_reads_every_sample_exactly(model: Model, tiny_samples: "list[Recording]") -> None:
    """Two of them are silence and noise, and their text is empty."""
    read = [model.decode(read_wav(item.path), OPTIONS).text for item in tiny_samples]
    assert read == [item.transcript for item in tiny_samples]
    assert "" in read


def test_confidence_and_language_come_with_the_text(model: Model, phrase: "Recording") -> None:
    hypothesis = model.decode(read_wav(phrase.path), OPTIONS)
    assert hypothesis.confidence is not None
    assert 0.8 < hypothesis.confidence <= 1
    assert hypothesis.language == "en"
    assert hypothesis.words == ()
    assert model.decode(silence(1), OPTIONS).confidence is None


def test_words_have_times_in_order_and_probabilities(model: Model, phrase: "Recording") -> None:
    words = model.decode(read_wav(phrase.path), DecodeOptions(words=True)).words
    assert [word.word for word in words] == phrase.transcript.split()
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 1.5 < times[-1] < 2.6  # the phrase ends at 2.33 s
    assert all(word.probability is not None and 0 < word.probability <= 1 for word in words)


def test_options_of_one_call_do_not_stick(model: Model, phrase: "Recording") -> None:
    audio = read_wav(phrase.path)
    before = model.decode(audio, OPTIONS)
    asked = DecodeOptions(words=True, prompt="up up", task="translate", is_partial=True)
    assert model.decode(audio, asked).words
    assert model.decode(audio, OPTIONS) == before


def test_an_english_model_reads_english_whatever_is_asked(
    model: Model, phrase: "Recording"
) -> None:
    asked = DecodeOptions(language="de", task="translate")
    hypothesis = model.decode(read_wav(phrase.path), asked)
    assert (hypothesis.text, hypothesis.language) == (phrase.transcript, "en")


@pytest.mark.parametrize("samples", [0, 1, 800, 480_000])
def test_any_length_of_silence_is_empty(model: Model, samples: int) -> None:
    audio = np.zeros(samples, np.float32)
    audio.flags.writeable = False
    assert model.decode(audio, OPTIONS).text == ""


def test_a_device_or_compute_type_that_is_not_there_is_refused(
    tiny_whisper: "TinyWhisper",
) -> None:
    folder = str(tiny_whisper.ctranslate2)
    with pytest.raises(ProviderError, match="there is no device 63"):
        FasterWhisperProvider().load(folder, {"device": "cuda", "device_index": 63})
    with pytest.raises(ProviderError, match=r"cpu cannot compute in 'float16'; it can in .*int8"):
        FasterWhisperProvider().load(folder, {"device": "cpu", "compute_type": "float16"})


def test_settings_are_checked_without_loading() -> None:
    provider = FasterWhisperProvider()
    provider.check_settings({"compute_type": "int8_float16", "num_workers": 2})
    with pytest.raises(ProviderError, match=r"'compute_type' must be one of .*float16"):
        provider.check_settings({"compute_type": "flaot16"})
    with pytest.raises(ProviderError, match="did you mean 'num_workers'"):
        provider.check_settings({"num_worker": 2})


def test_the_settings_reach_the_engine(tiny_whisper: "TinyWhisper", phrase: "Recording") -> None:
    model = FasterWhisperProvider().load(
        str(tiny_whisper.ctranslate2),
        {"device": "cpu", "compute_type": "float32", "num_workers": 2, "cpu_threads": 1},
    )
    engine = model._engine.model  # type: ignore[attr-defined]
    assert (engine.device, engine.compute_type, engine.num_workers) == ("cpu", "float32", 2)
    assert model.decode(read_wav(phrase.path), OPTIONS).text == phrase.transcript


def test_a_cpu_computes_in_int8_unless_told_otherwise(tiny_whisper: "TinyWhisper") -> None:
    model = FasterWhisperProvider().load(str(tiny_whisper.ctranslate2), {"device": "cpu"})
    assert model._engine.model.compute_type.startswith("int8")  # type: ignore[attr-defined]


def counting(stop_at: int | None = None) -> tuple[list[int], Callable[[], bool]]:
    """A list that grows with each call of the function, which says no from call `stop_at` on."""
    calls: list[int] = []

    def keep_going() -> bool:
        calls.append(len(calls) + 1)
        return stop_at is None or len(calls) < stop_at

    return calls, keep_going


def test_progress_is_told_between_the_engines_calls(model: Model, phrase: "Recording") -> None:
    audio = read_wav(phrase.path)
    calls, keep_going = counting()
    model.decode(audio, DecodeOptions(keep_going=keep_going))
    assert len(calls) == 4  # before and after the encoder and the one attempt
    calls, keep_going = counting()
    model.decode(audio, DecodeOptions(keep_going=keep_going, words=True))
    assert len(calls) == 6  # and the alignment of words


def test_each_attempt_of_the_fallback_is_progress(
    model: Model, phrase: "Recording", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model._reader, "_temperatures", (0.0, 0.0, 0.0))  # type: ignore[attr-defined]
    monkeypatch.setattr("asrd_faster_whisper.attempts._repetition", lambda _: 99.0)
    calls, keep_going = counting()
    model.decode(read_wav(phrase.path), DecodeOptions(keep_going=keep_going))
    assert len(calls) == 2 + 3 * 2


@pytest.mark.parametrize("stop_at", [1, 2, 3, 4])
def test_a_decode_that_nobody_wants_stops_at_the_next_call(
    model: Model, phrase: "Recording", stop_at: int
) -> None:
    audio = read_wav(phrase.path)
    calls, keep_going = counting(stop_at)
    with pytest.raises(DecodeCancelled):
        model.decode(audio, DecodeOptions(keep_going=keep_going))
    assert calls[-1] == stop_at
    assert model.decode(audio, OPTIONS).text == phrase.transcript
    assert calls[-1] == stop_at  # the next decode asks somebody else


def test_an_engine_that_fails_on_a_window_is_a_providers_error(
    model: Model, phrase: "Recording", monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(model._reader, "read", fail)  # type: ignore[attr-defined]
    with pytest.raises(ProviderError, match=r"faster-whisper failed: CUDA failed with error out"):
        model.decode(read_wav(phrase.path), OPTIONS)


def test_a_new_model_draws_at_random_what_the_one_before_drew(
    tiny_whisper: "TinyWhisper", phrase: "Recording"
) -> None:
    """The fallback does. Two draws of one model differ, so equal ones are no accident."""

    def draw() -> list[str]:
        model = FasterWhisperProvider().load(str(tiny_whisper.ctranslate2), {"cpu_threads": 1})
        model._reader._temperatures = (3.0,)  # type: ignore[attr-defined]
        audio = read_wav(phrase.path)
        return [model.decode(audio, OPTIONS).text for _ in range(2)]

    first, second = draw(), draw()
    assert first == second
    assert first[0] != first[1]


def machine(cores: float, available_gb: float, *gpus: Gpu) -> Machine:
    available = int(available_gb * GB)
    return Machine(cores=cores, memory_bytes=2 * available, available_bytes=available, gpus=gpus)


def gpu(index: int, free_gb: float, capability: tuple[int, int] = (8, 0)) -> Gpu:
    return Gpu(
        index=index,
        name="a GPU",
        memory_bytes=80 * GB,
        free_bytes=int(free_gb * GB),
        compute_capability=capability,
    )


@pytest.mark.parametrize(
    ("machine", "models"),
    [
        (machine(1, 8), ["tiny"]),
        (machine(2, 8), ["base", "tiny"]),
        (machine(2, 0.6), ["tiny"]),
        (machine(16, 0.5), []),
        (machine(6, 8), ["small", "base", "tiny"]),
        (machine(2, 8, gpu(0, 16)), ["large-v3-turbo", "small", "base", "base", "tiny"]),
        (machine(2, 8, gpu(0, 3)), ["small", "base", "base", "tiny"]),
        (machine(2, 8, gpu(0, 16, (6, 1))), ["base", "tiny"]),
    ],
)
def test_it_suggests_what_a_machine_can_carry(machine: Machine, models: list[str]) -> None:
    assert [one.model for one in FasterWhisperProvider().suggest(machine)] == models


def test_what_is_suggested_is_spread_over_workers_of_one_thread() -> None:
    provider = FasterWhisperProvider()
    (best, *_) = provider.suggest(machine(8, 64))
    spread = provider.spread(best.settings, 4)
    assert (spread["num_workers"], spread["cpu_threads"]) == (4, 1)


def test_a_suggestion_can_be_loaded_as_it_is() -> None:
    provider = FasterWhisperProvider()
    suggestions = list(provider.suggest(machine(1.5, 64, gpu(0, 4), gpu(1, 40))))
    assert suggestions[0].settings == {
        "device": "cuda",
        "device_index": 1,
        "compute_type": "float16",
    }
    assert suggestions[-1].settings == {"device": "cpu", "compute_type": "int8"}
    for one in suggestions:
        provider.check_settings(one.settings)
        assert provider.status(one.model).model == one.model
    assert suggestions == sorted(suggestions, key=lambda one: -one.quality)
