"""Sound on its way from the device's thread to the loop: all of it, or told how much is missing."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.cli import capture
from asrd.cli.capture import Block, Capture, Intake, inputs, load_sounddevice
from asrd.cli.exits import CommandError, Exit
from support import fake_sounddevice
from support.fake_sounddevice import FakeDevice, Machine

PCM = bytes(range(256)) * 250  # two seconds
Play = Callable[..., None]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    """Make a machine with one input that plays `PCM`, ten times as quick."""
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice)
    (tmp_path / "pcm").write_bytes(PCM)

    def have(pace: float = 10.0, **changes: Any) -> None:
        device = FakeDevice(name="a mic", pcm=str(tmp_path / "pcm"), **changes)
        for name, value in Machine(devices=(device,), pace=pace).environment.items():
            monkeypatch.setenv(name, value)

    return have


async def taken(source: Capture) -> list[Block]:
    return [block async for block in source]


def joined(blocks: list[Block]) -> bytes:
    return b"".join(block.pcm for block in blocks)


# ── the queue ─────────────────────────────────────────────────────────────────────────────────


@given(
    st.lists(
        st.one_of(st.just(None), st.tuples(st.integers(0, 30), st.sampled_from([0, 0, 0, 7]))),
        max_size=60,
    )
)
def test_every_sample_is_taken_or_told_as_lost(steps: list[tuple[int, int] | None]) -> None:
    """None takes a block; the others put one, some of them behind an overrun."""
    rate, limit = 100, 50
    intake = Intake(rate, 2, limit)
    clock, seen, waiting = 0, 0, 0
    blocks: list[Block] = []
    for step in steps:
        if step is None:
            block = intake.take()
            if block is not None:
                blocks.append(block)
                waiting -= len(block.pcm) // 2
            continue
        samples, lost = step
        lost = lost if clock else 0  # before the first block nobody knows
        clock += lost
        fits = waiting + samples <= limit
        intake.put(bytes(2 * samples), clock / rate, has_overrun=lost > 0)
        waiting += samples if fits else 0
        clock += samples
    while (block := intake.take()) is not None:
        blocks.append(block)
    blocks.append(intake.rest())
    seen = sum(len(each.pcm) // 2 + each.lost_samples for each in blocks)
    assert seen == clock


def test_an_overrun_is_as_long_as_the_device_s_clock_says() -> None:
    intake = Intake(1000, 2, 10_000)
    intake.put(bytes(200), 5.0, has_overrun=False)
    intake.put(bytes(200), 5.35, has_overrun=True)
    assert intake.take() == Block(pcm=bytes(200))
    assert intake.take() == Block(pcm=bytes(200), overrun_samples=250)


def test_an_overrun_without_a_clock_is_told_all_the_same() -> None:
    intake = Intake(1000, 2, 10_000)
    intake.put(bytes(200), 0.0, has_overrun=True)
    intake.put(bytes(200), 0.0, has_overrun=True)
    assert [intake.take(), intake.take()] == [Block(pcm=bytes(200), overrun_samples=1)] * 2


def test_what_does_not_fit_is_told_behind_what_did() -> None:
    intake = Intake(1000, 2, 150)
    for _ in range(3):
        intake.put(bytes(200), 0.0, has_overrun=False)
    assert intake.take() == Block(pcm=bytes(200))
    assert intake.take() is None
    assert intake.rest() == Block(pcm=b"", unqueued_samples=200)
    intake.put(bytes(200), 0.0, has_overrun=False)
    assert intake.take() == Block(pcm=bytes(200))  # told already


# ── a device ──────────────────────────────────────────────────────────────────────────────────


def test_all_of_a_device_that_ends_by_itself(play: Play) -> None:
    play(ends=True)

    async def scenario() -> None:
        with Capture(inputs()[0], max_channels=1) as source:
            blocks = await taken(source)
            assert joined(blocks).rstrip(b"\0") == PCM.rstrip(b"\0")
            assert not any(block.lost_samples for block in blocks)
            assert source.has_failed

    asyncio.run(scenario())


def test_it_is_stopped_and_keeps_what_was_heard(play: Play) -> None:
    play()

    async def scenario() -> None:
        with Capture(inputs()[0], max_channels=1) as source:
            first = await anext(aiter(source))
            await asyncio.sleep(0.05)
            source.stop()
            rest = await taken(source)
            assert rest
            assert PCM.startswith(first.pcm + joined(rest))
            source.stop()
            await asyncio.sleep(0)  # the device says that it has ended
            assert not source.has_failed

    asyncio.run(scenario())


def test_a_loop_that_stands_still_loses_what_does_not_fit_and_is_told(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(pace=1000.0, ends=True)
    monkeypatch.setattr(capture, "MAX_QUEUED_S", 0.5)

    async def scenario() -> None:
        with Capture(inputs()[0], max_channels=1) as source:
            source._input._thread.join()  # nothing is taken meanwhile
            blocks = await taken(source)
        samples = len(joined(blocks)) // 2
        assert 0.4 * 16_000 < samples <= 0.5 * 16_000
        assert PCM.startswith(joined(blocks))
        lost = sum(block.unqueued_samples for block in blocks)
        assert samples + lost >= len(PCM) // 2

    asyncio.run(scenario())


def test_an_overrun_of_the_device_is_told_with_its_length(play: Play) -> None:
    play(ends=True, overruns={"10": 0.5})

    async def scenario() -> None:
        with Capture(inputs()[0], max_channels=1) as source:
            blocks = await taken(source)
        assert [block.overrun_samples for block in blocks[9:12]] == [0, 8000, 0]
        assert sum(block.lost_samples for block in blocks) == 8000

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("own", "rates", "chosen"),
    [
        (48_000, (16_000, 48_000), 16_000),
        (44_100, (44_100, 48_000), 44_100),
        (192_000, (192_000, 48_000), 48_000),  # no stream may have so many
    ],
)
def test_the_rate_is_the_models_or_one_that_the_device_has(
    play: Play, own: int, rates: tuple[int, ...], chosen: int
) -> None:
    play(rate=own, rates=rates, inputs=2)

    async def scenario() -> None:
        made = Capture(inputs()[0], max_channels=2)
        assert (made.rate, made.channels) == (chosen, 2)
        assert Capture(inputs()[0], max_channels=1).channels == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("changes", [{"is_busy": True}, {"rates": (192_000,), "rate": 192_000}])
def test_a_device_that_cannot_be_had(play: Play, changes: dict[str, Any]) -> None:
    play(**changes)

    async def scenario() -> None:
        with pytest.raises(CommandError, match=r"cannot listen to a mic: .*PaErrorCode") as raised:
            Capture(inputs()[0], max_channels=1).__enter__()
        assert raised.value.code is Exit.NO_INPUT

    asyncio.run(scenario())


# ── what there is ─────────────────────────────────────────────────────────────────────────────


def test_outputs_are_no_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice)
    speakers, mic = FakeDevice(name="out", inputs=0, outputs=2), FakeDevice(name="mic", rate=44_100)
    machine = Machine(devices=(speakers, mic), default_input=1, default_output=0)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    [found] = inputs()
    assert (found.number, found.name, found.rate, found.is_default) == (1, "mic", 44_100, True)
    assert capture.default_output() == "out"


def test_a_machine_without_defaults(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play()
    machine = Machine(devices=(FakeDevice(name="mic"),), default_input=None)
    monkeypatch.setenv(*next(iter(machine.environment.items())))
    assert not inputs()[0].is_default
    assert capture.default_output() == ""


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(CommandError, match=r"`pip install 'asrd\[listen\]'`") as raised:
        load_sounddevice()
    assert raised.value.code is Exit.UNAVAILABLE


def test_without_portaudio_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CommandError, match="apt install libportaudio2") as raised:
        load_sounddevice()
    assert raised.value.code is Exit.UNAVAILABLE


def test_a_block_that_comes_when_the_loop_is_closed_harms_nobody(play: Play) -> None:
    play()

    async def scenario() -> Capture:
        return Capture(inputs()[0], max_channels=1)

    source = asyncio.run(scenario())
    time = SimpleNamespace(inputBufferAdcTime=1.0, currentTime=1.0)
    source._heard(b"\0\0", 1, time, SimpleNamespace(input_overflow=False))
