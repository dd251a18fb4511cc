"""whisper.cpp's decodes side by side, its log among them, and its partials at short context."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import _pywhispercpp as whisper  # type: ignore[import-not-found]  # a bare extension module
import numpy as np
import pytest

from asrd import DecodeCancelled, DecodeOptions, Model, ProviderError, RequestUnsupported
from asrd_whisper_cpp import WhisperCppProvider
from asrd_whisper_cpp.engine_log import listen_to_engine
from support.audio import SAMPLE_RATE, Samples, read_wav, silence

if TYPE_CHECKING:
    from asrd import Setting
    from conftest import Recording, TinyWhisper

OPTIONS = DecodeOptions()
PARTIAL = DecodeOptions(is_partial=True)
MEETING_S = 15.0


@pytest.fixture(scope="module")
def model(tiny_whisper: "TinyWhisper") -> Iterator[Model]:
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), {"threads": 1})
    yield model
    model.close()


@pytest.fixture
def phrase(tiny_samples: "list[Recording]") -> "Recording":
    return next(item for item in tiny_samples if item.transcript == "seven four")


@pytest.fixture(scope="module")
def two_at_once(tiny_whisper: "TinyWhisper") -> Iterator[Model]:
    settings = WhisperCppProvider().spread({}, 2)
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), settings)
    yield model
    model.close()


def meeting(others: threading.Barrier, *, is_wanted: bool = True) -> Callable[[], bool]:
    """Asked for the first time, wait until the others are asked, too: they decode at once then."""
    asked: list[None] = []

    def keep_going() -> bool:
        if not asked:
            asked.append(None)
            others.wait(MEETING_S)
        return is_wanted

    return keep_going


def test_decodes_run_side_by_side_and_read_what_they_read_alone(
    two_at_once: Model, tiny_samples: "list[Recording]"
) -> None:
    assert two_at_once.abilities.decodes_at_once == 2
    barrier = threading.Barrier(2)
    windows = [read_wav(item.path) for item in tiny_samples]
    assert len(windows) % 2 == 0

    def read(window: Samples) -> str:
        asked = DecodeOptions(words=True, keep_going=meeting(barrier))
        return two_at_once.decode(window, asked).text

    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(read, windows))
    assert texts == [item.transcript for item in tiny_samples]


def test_one_of_two_decodes_is_cancelled_and_the_other_one_is_whole(
    two_at_once: Model, phrase: "Recording"
) -> None:
    barrier, audio = threading.Barrier(2), read_wav(phrase.path)

    def read(*, is_wanted: bool) -> str:
        asked = DecodeOptions(keep_going=meeting(barrier, is_wanted=is_wanted))
        return two_at_once.decode(audio, asked).text

    with ThreadPoolExecutor(2) as pool:
        unwanted, wanted = (pool.submit(read, is_wanted=answer) for answer in (False, True))
        with pytest.raises(DecodeCancelled):
            unwanted.result()
        assert wanted.result() == phrase.transcript


def test_more_threads_than_contexts_wait_for_each_other(model: Model, phrase: "Recording") -> None:
    assert model.abilities.decodes_at_once == 1
    audio = read_wav(phrase.path)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: model.decode(audio, OPTIONS).text, range(6)))
    assert found == [phrase.transcript] * 6


def room_for(
    count: int, monkeypatch: pytest.MonkeyPatch, *, is_told_by_an_exception: bool
) -> list[Any]:
    """Let so many contexts load and no more; returns the list of those that were freed."""
    load, free = whisper.whisper_init_from_file_with_params, whisper.whisper_free
    loaded: list[Any] = []
    freed: list[Any] = []

    def load_some(path: str, *parameters: Any) -> Any:
        if len(loaded) == count:
            if is_told_by_an_exception:
                raise MemoryError
            path += ".missing"  # as it fails on a GPU: a null pointer, and a line in the log
        loaded.append(load(path, *parameters))
        return loaded[-1]

    def note(context: Any) -> None:
        freed.append(context)
        free(context)

    monkeypatch.setattr(whisper, "whisper_init_from_file_with_params", load_some)
    monkeypatch.setattr(whisper, "whisper_free", note)
    return freed


@pytest.mark.parametrize("is_told_by_an_exception", [True, False])
def test_where_there_is_no_room_for_all_contexts_those_that_loaded_do_the_work(
    tiny_whisper: "TinyWhisper",
    phrase: "Recording",
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    is_told_by_an_exception: bool,
) -> None:
    freed = room_for(2, monkeypatch, is_told_by_an_exception=is_told_by_an_exception)
    settings: dict[str, Setting] = {"contexts": 4, "threads": 1}
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), settings)
    assert model.abilities.decodes_at_once == 2
    audio = read_wav(phrase.path)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: model.decode(audio, OPTIONS).text, range(3)))
    assert found == [phrase.transcript] * 3
    told = capfd.readouterr().err
    assert "has room for 2 of 4 contexts" in told
    assert len(told.splitlines()) == 1
    model.close()
    assert len(freed) == (2 if is_told_by_an_exception else 3)


@pytest.mark.parametrize("is_told_by_an_exception", [True, False])
def test_without_room_for_one_context_there_is_no_model(
    tiny_whisper: "TinyWhisper", monkeypatch: pytest.MonkeyPatch, is_told_by_an_exception: bool
) -> None:
    room_for(0, monkeypatch, is_told_by_an_exception=is_told_by_an_exception)
    with pytest.raises(ProviderError, match="cannot load"):
        WhisperCppProvider().load(str(tiny_whisper.ggml), {"contexts": 3})


def test_a_model_takes_memory_for_each_of_its_contexts(tiny_whisper: "TinyWhisper") -> None:
    provider, path = WhisperCppProvider(), str(tiny_whisper.ggml)
    size = tiny_whisper.ggml.stat().st_size
    assert provider.size_bytes(path, {}) == size
    assert provider.size_bytes(path, provider.spread({}, 3)) == 3 * size
    assert provider.size_bytes(path, {"contexts": 16}) == 16 * size
    assert provider.size_bytes("no-such-model", {"contexts": 2}) == 0


def test_a_language_that_a_model_is_too_old_for_is_none_of_its_languages(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine would take `yue` for the task of translating."""
    monkeypatch.setattr(model, "_is_multilingual", True)
    monkeypatch.setattr(model, "_languages", 99)  # as all but large-v3 and its kin have
    for name in ("yue", "yuee"):
        with pytest.raises(RequestUnsupported, match=f"no language '{name}'; give a code"):
            model.decode(silence(1), DecodeOptions(language=name))
    assert model.decode(silence(1), DecodeOptions(language="su")).text == ""  # the last of them


def test_an_error_is_blamed_on_the_call_whose_thread_logs_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Asked for a language that it does not know, the engine logs an error in that thread."""
    barrier = threading.Barrier(2)

    def ask(language: str) -> list[str]:
        with listen_to_engine() as errors:
            barrier.wait(MEETING_S)
            whisper.whisper_lang_id(language)
            barrier.wait(MEETING_S)
        return errors

    with ThreadPoolExecutor(2) as pool:
        elvish, entish = pool.map(ask, ("elvish", "entish"))
    assert [len(elvish), len(entish)] == [1, 1]
    assert "'elvish'" in elvish[0]
    assert "'entish'" in entish[0]
    assert capfd.readouterr() == ("", "")


def test_an_error_of_an_unknown_thread_is_blamed_where_one_call_alone_runs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ThreadPoolExecutor(1) as elsewhere:
        with listen_to_engine() as errors:
            elsewhere.submit(whisper.whisper_lang_id, "elvish").result()
            with listen_to_engine() as others:
                elsewhere.submit(whisper.whisper_lang_id, "dwarvish").result()
            whisper.whisper_lang_id("entish")  # still heard, though the other call has ended
        assert [line.split("'")[1] for line in errors] == ["elvish", "entish"]
    assert others == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("given", "decodes", "settings"),
    [
        ({}, 1, {}),
        ({"threads": 3}, 1, {"threads": 3}),
        ({}, 2, {"contexts": 2, "threads": 1}),
        ({}, 4, {"contexts": 4, "threads": 1}),
        ({"threads": 3, "use_gpu": False}, 2, {"contexts": 2, "threads": 3, "use_gpu": False}),
        ({"contexts": 2}, 8, {"contexts": 2, "threads": 1}),
        ({"contexts": 9}, 2, {"contexts": 9, "threads": 1}),
        ({"contexts": 1}, 8, {"contexts": 1}),
        ({"contexts": 1, "threads": 3}, 8, {"contexts": 1, "threads": 3}),
        ({}, 500, {"contexts": 4, "threads": 1}),
    ],
)
def test_decodes_are_spread_over_contexts_of_one_thread_but_for_what_the_user_says(
    given: "dict[str, Setting]", decodes: int, settings: "dict[str, Setting]"
) -> None:
    assert WhisperCppProvider().spread(given, decodes) == settings


@pytest.fixture
def contexts_asked_for(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The `audio_ctx` of each run of the engine."""
    run = whisper.whisper_full
    asked: list[int] = []

    def note(context: Any, parameters: Any, *window: Any) -> int:
        asked.append(parameters.audio_ctx)
        code: int = run(context, parameters, *window)
        return code

    monkeypatch.setattr(whisper, "whisper_full", note)
    return asked


def test_partials_at_short_context_read_every_sample_exactly(
    model: Model, tiny_samples: "list[Recording]", contexts_asked_for: list[int]
) -> None:
    read = [model.decode(read_wav(item.path), PARTIAL).text for item in tiny_samples]
    assert read == [item.transcript for item in tiny_samples]
    assert len(set(contexts_asked_for)) > 2


@pytest.mark.parametrize(
    ("samples", "audio_ctx"),
    [(1_760, 128), (32_000, 128), (32_001, 256), (128_000, 448), (192_000, 640), (192_001, 0)],
)
def test_a_partial_gets_a_context_that_holds_it_and_a_final_a_full_one(
    model: Model, contexts_asked_for: list[int], samples: int, audio_ctx: int
) -> None:
    audio = np.zeros(samples, np.float32)
    model.decode(audio, PARTIAL)
    model.decode(audio, OPTIONS)
    assert contexts_asked_for == [audio_ctx, 0]
    context_s = model.abilities.context_s(samples / SAMPLE_RATE, is_partial=True)
    assert samples / SAMPLE_RATE <= context_s <= (audio_ctx or 1_500) / 50
    assert model.abilities.context_s(samples / SAMPLE_RATE, is_partial=False) == 30


def test_partials_get_a_full_context_where_the_user_wants_it(
    tiny_whisper: "TinyWhisper", contexts_asked_for: list[int]
) -> None:
    settings: dict[str, Setting] = {"short_context": "never", "threads": 1}
    model = WhisperCppProvider().load(str(tiny_whisper.ggml), settings)
    model.decode(silence(1), PARTIAL)
    assert contexts_asked_for == [0]
    assert model.abilities.partial_contexts_s == (30.0,)
    model.close()


def test_a_language_is_found_out_at_the_context_of_its_own_decode(
    model: Model,
    phrase: "Recording",
    monkeypatch: pytest.MonkeyPatch,
    contexts_asked_for: list[int],
) -> None:
    """The engine would take that of the decode before, so it is handed the right one first."""
    monkeypatch.setattr(model, "_is_multilingual", True)
    audio, english = read_wav(phrase.path), DecodeOptions(language="en", is_partial=True)
    model.decode(audio, english)
    contexts_asked_for.clear()
    for options in (OPTIONS, OPTIONS, PARTIAL, PARTIAL, english, OPTIONS):
        assert model.decode(audio, options).text == phrase.transcript
    first, second, third, fourth, in_english, last = [0, 0], [0], [128, 128], [128], [128], [0, 0]
    assert contexts_asked_for == first + second + third + fourth + in_english + last
