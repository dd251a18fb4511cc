"""`echo`: text that follows from the audio alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from asrd import Abilities, DecodeCancelled, DecodeOptions, DecodeRequest, Setting
from asrd_echo import EchoProvider
from support.audio import Samples

OPTIONS = DecodeOptions()


def noise(count: int) -> Samples:
    return np.random.default_rng(1).uniform(-1, 1, count).astype(np.float32)


def test_the_text_tells_the_length_and_every_sample() -> None:
    model = EchoProvider().load("echo", {})
    audio = noise(20_000)
    text = model.decode(audio, OPTIONS).text
    assert text.startswith("echo 1.250s ")
    assert model.decode(audio, OPTIONS).text == text
    changed = audio.copy()
    changed[7] += 0.01
    assert model.decode(changed, OPTIONS).text != text
    assert model.decode(audio[1:], OPTIONS).text != text


def test_the_text_is_the_same_in_every_release() -> None:
    """Golden: clients' own tests may hold on to it."""
    audio = np.array([0.0, 0.5, -0.5, 1.0, -1.0], np.float32)
    assert EchoProvider().load("echo", {}).decode(audio, OPTIONS).text == "echo 0.000s 22845f68"


def test_no_audio_has_no_text() -> None:
    model = EchoProvider().load("echo", {})
    assert model.decode(noise(0), OPTIONS).text == ""


def test_words_come_when_asked_for_and_fill_the_window_evenly() -> None:
    model = EchoProvider().load("echo", {})
    assert model.decode(noise(48_000), OPTIONS).words == ()
    hypothesis = model.decode(noise(48_000), DecodeOptions(words=True))
    assert [(word.start, word.end) for word in hypothesis.words] == [(0, 1), (1, 2), (2, 3)]
    assert " ".join(word.word for word in hypothesis.words) == hypothesis.text


class StillClock:
    """Time that passes in sleep alone."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.slept: list[float] = []

    def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        self.now_s += duration_s

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr("asrd_echo.model.time", clock)
    return clock


def test_latency_and_real_time_factor_add_up(clock: StillClock) -> None:
    settings = {"latency_ms": 250, "real_time_factor": 0.1, "load_ms": 500}
    EchoProvider().load("echo", settings).decode(noise(80_000), OPTIONS)
    load_s, *waits = clock.slept
    assert load_s == 0.5
    assert sum(waits) == pytest.approx(0.25 + 0.5)


@pytest.mark.parametrize(
    ("batch_cost", "waited_s"), [(0.0, 0.75), (0.2, 0.75 + 0.2 * 0.8), (1.0, 0.75 + 0.8)]
)
def test_a_batch_takes_what_its_first_window_takes_and_a_share_of_the_others(
    clock: StillClock, batch_cost: float, waited_s: float
) -> None:
    settings: dict[str, Setting] = {"latency_ms": 250, "real_time_factor": 0.1, "max_batch": 3}
    model = EchoProvider().load("echo", {**settings, "batch_cost": batch_cost})
    clock.slept.clear()
    windows = [noise(80_000), noise(16_000), noise(32_000)]
    requests = [DecodeRequest(audio=window, options=OPTIONS) for window in windows]
    read = model.decode_batch(requests)
    assert sum(clock.slept) == pytest.approx(waited_s)
    assert list(read) == [model.decode(window, OPTIONS) for window in windows]


def test_each_window_of_a_batch_is_read_as_it_is_asked_for() -> None:
    model = EchoProvider().load("echo", {"max_batch": 3})
    asked = (DecodeOptions(words=True), DecodeOptions(language="de"), OPTIONS)
    windows = (noise(1_600), noise(3_200), noise(0))
    requests = [
        DecodeRequest(audio=window, options=options)
        for window, options in zip(windows, asked, strict=True)
    ]
    pairs = zip(windows, asked, strict=True)
    assert list(model.decode_batch(requests)) == [model.decode(*pair) for pair in pairs]


def test_a_batch_that_nobody_wants_ends(clock: StillClock) -> None:
    model = EchoProvider().load("echo", {"latency_ms": 60_000, "max_batch": 2})
    until_s = clock.now_s + 1
    options = DecodeOptions(keep_going=lambda: clock.now_s < until_s)
    with pytest.raises(DecodeCancelled):
        model.decode_batch([DecodeRequest(audio=noise(1_600), options=options)] * 2)
    assert clock.now_s <= until_s + 0.01 + 1e-9


def test_it_can_do_what_it_is_told_that_it_can() -> None:
    told: dict[str, Setting] = {"decodes_at_once": 256, "max_batch": 64}
    provider = EchoProvider()
    assert provider.load("echo", {}).abilities == Abilities(can_abort=True)
    assert provider.load("echo", told).abilities == Abilities(
        decodes_at_once=256, max_batch=64, can_abort=True
    )
    assert provider.spread({}, 1) == {}
    assert provider.spread({}, 500) == {"decodes_at_once": 256}
    assert provider.spread({"decodes_at_once": 2}, 8) == {"decodes_at_once": 2}


def test_decodes_wait_side_by_side() -> None:
    """Each goes on only once all of them wait."""
    together = 8
    model = EchoProvider().load("echo", {"latency_ms": 1, "decodes_at_once": together})
    barrier = threading.Barrier(together)
    windows = [noise(count) for count in range(1_600, 1_600 + together)]

    def read(window: Samples) -> str:
        is_met = [False]

        def keep_going() -> bool:
            if not is_met[0]:
                barrier.wait(15)
            is_met[0] = True
            return True

        return model.decode(window, DecodeOptions(keep_going=keep_going)).text

    with ThreadPoolExecutor(together) as pool:
        texts = list(pool.map(read, windows))
    assert texts == [model.decode(window, OPTIONS).text for window in windows]
    assert len(set(texts)) == together


def test_it_asks_while_it_waits_whether_to_go_on(clock: StillClock) -> None:
    model = EchoProvider().load("echo", {"latency_ms": 60_000})
    asked_at: list[float] = []

    def keep_going() -> bool:
        asked_at.append(clock.now_s)
        return len(asked_at) < 20

    with pytest.raises(DecodeCancelled):
        model.decode(noise(1_600), DecodeOptions(keep_going=keep_going))
    assert len(asked_at) == 20
    assert np.diff(asked_at).max() <= 0.01 + 1e-9


def test_a_cancelled_decode_ends_soon_and_the_next_one_is_whole() -> None:
    """In real time, and cancelled by somebody else."""
    model = EchoProvider().load("echo", {"latency_ms": 600_000})
    wanted = threading.Event()
    timer = threading.Timer(0.2, wanted.set)
    timer.start()
    start = time.monotonic()
    with pytest.raises(DecodeCancelled):
        model.decode(noise(1_600), DecodeOptions(keep_going=lambda: not wanted.is_set()))
    assert time.monotonic() - start < 10
    timer.join()
    text = EchoProvider().load("echo", {"latency_ms": 1}).decode(noise(1_600), OPTIONS).text
    assert text.startswith("echo 0.100s ")


def test_memory_that_it_is_told_to_take_is_really_taken() -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    model = EchoProvider().load("echo", {"memory_mb": 200})
    assert process.memory_info().rss - before > 190_000_000
    del model
    assert process.memory_info().rss - before < 100_000_000
