"""Recording: a file for each connection, and nothing that happens to it reaches the connection."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from asrd.config import Config, Recording
from asrd.errors import StartupError
from asrd.providers.registry import Registry
from asrd.server import recorder as module
from asrd.server.recorder import ConnectionRecording, RecordedPeer, Recorder, recorder_of
from asrd.session.keeping import Keeping
from asrd.session.session import Session
from asrd.wire.codec import encode
from asrd.wire.messages import Audio, ClientMessage, Hello, Ping
from asrd.wire.recording import FrameCutter, RecordedFrame, read_frames
from support.clock import VirtualClock
from support.room import FakeChannel, Room, run
from support.waiting import wait_until

STARTED_AT_S = 1_700_000_000.125
TOKEN = "ab" * 16


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def made() -> Iterator[list[Recorder]]:
    """Recorders that are stopped in the end."""
    recorders: list[Recorder] = []
    yield recorders
    for each in recorders:
        stop(each)


def stop(owner: Recorder) -> None:
    owner.end()
    owner.join()


def recorder(
    made: list[Recorder], folder: Path, clock: VirtualClock | None = None, **rule: Any
) -> Recorder:
    new = Recorder(folder, Recording(**rule), clock or VirtualClock(), started_at_s=STARTED_AT_S)
    made.append(new)
    return new


def session(name: str = "s1") -> Session:
    return Session(
        session_id=name,
        token=TOKEN,
        max_streams=1,
        kept_segments=1,
        delivered_after_s=1.0,
        now_s=lambda: 0.0,
        keeping=Keeping(1),
    )


def hear(
    recording: ConnectionRecording, owner: Recorder, *messages: ClientMessage, name: str = "s1"
) -> None:
    data = b"".join(encode(message) for message in messages)
    recording.received(memoryview(data), owner.now_s(), session(name))


def frames_in(path: Path) -> list[RecordedFrame]:
    return list(read_frames(FrameCutter(), path.read_bytes()))


def types_in(path: Path) -> list[str]:
    return [frame.fields["type"] if frame.fields else "" for frame in frames_in(path)]


# ── files ─────────────────────────────────────────────────────────────────────────────────────


def test_each_connection_has_a_file_named_by_its_session(
    tmp_path: Path, made: list[Recorder]
) -> None:
    owner = recorder(made, tmp_path / "new" / "folder")
    for name in ("s1", "s2", "s1"):
        hear(owner.begin(), owner, Hello(), Ping(), name=name)
    stop(owner)
    assert owner.run == f"20231114T221320125Z-{os.getpid()}"
    names = [f"{owner.run}-s1-1", f"{owner.run}-s1-3", f"{owner.run}-s2-2"]
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [path.name for path in files] == [f"{name}.frames" for name in names]
    assert all(types_in(path) == ["hello", "ping"] for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700


def test_times_count_on_from_the_start_by_the_daemons_clock(
    tmp_path: Path, made: list[Recorder], clock: VirtualClock
) -> None:
    owner = recorder(made, tmp_path, clock)
    recording = owner.begin()
    for _ in range(3):
        hear(recording, owner, Ping())
        clock.advance(1.5)
    stop(owner)
    (path,) = tmp_path.iterdir()
    assert [frame.at_s for frame in frames_in(path)] == [
        STARTED_AT_S + passed for passed in (0.0, 1.5, 3.0)
    ]


def test_what_was_written_stands_there_while_the_connection_goes_on(
    tmp_path: Path, made: list[Recorder]
) -> None:
    owner = recorder(made, tmp_path)
    recording = owner.begin()
    for count in range(1, 4):
        hear(recording, owner, Ping())
        wait_until(
            lambda: [path for path in tmp_path.iterdir() if len(types_in(path)) == count],  # noqa: B023
            "a frame on the disk",
        )


def test_a_connection_that_says_nothing_leaves_nothing(
    tmp_path: Path, made: list[Recorder]
) -> None:
    owner = recorder(made, tmp_path)
    owner.begin().end()
    stop(owner)
    assert list(tmp_path.iterdir()) == []


def test_one_that_never_came_to_a_session_is_kept_without_a_name(
    tmp_path: Path, made: list[Recorder]
) -> None:
    owner = recorder(made, tmp_path)
    recording = owner.begin()
    recording.received(memoryview(b"\0\0"), owner.now_s(), None)
    recording.end()
    stop(owner)
    (path,) = tmp_path.iterdir()
    assert path.name == f"{owner.run}-none-1.frames"
    assert path.read_bytes() == b"\0\0"


def test_nothing_is_recorded_behind_the_end(tmp_path: Path, made: list[Recorder]) -> None:
    owner = recorder(made, tmp_path)
    recording = owner.begin()
    hear(recording, owner, Ping())
    recording.end()
    recording.end()
    hear(recording, owner, Ping())
    stop(owner)
    (path,) = tmp_path.iterdir()
    assert types_in(path) == ["ping"]


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────


def endings(logs: Any) -> list[str]:
    return [line["problem"] for line in logs if line["event"] == "recording_ended"]


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path, made: list[Recorder]) -> None:
    owner = recorder(made, tmp_path)
    path = tmp_path / f"{owner.run}-s1-1.frames"
    path.write_text("mine")
    with capture_logs() as logs:
        hear(owner.begin(), owner, Ping())
        stop(owner)
    assert path.read_text() == "mine"
    assert endings(logs) == ["File exists"]


def test_a_directory_that_goes_away_costs_new_recordings_one_line_each(
    tmp_path: Path, made: list[Recorder]
) -> None:
    folder = tmp_path / "folder"
    owner = recorder(made, folder)
    folder.rmdir()
    with capture_logs() as logs:
        recording = owner.begin()
        for _ in range(3):
            hear(recording, owner, Ping())
            wait_until(lambda: endings(logs), "the one line")
        stop(owner)
    assert endings(logs) == ["No such file or directory"]


@pytest.mark.parametrize("when", ["before", "amid"])
def test_what_is_received_is_in_a_file_or_counted_as_missed(
    tmp_path: Path, made: list[Recorder], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the thread could not write, what came behind the failure, and the rest at the end.
    In the bytes that a recording without faults has."""
    said = [Audio(stream=1, data=bytes(1000))] * 5

    def record(folder: Path, fails: bool) -> tuple[int, int]:
        owner = recorder(made, folder)
        recording = owner.begin()
        if fails and when == "before":
            folder.rmdir()
        for number, message in enumerate(said):
            hear(recording, owner, message)
            if number in (1, 3):  # the thread's turn
                wait_until(lambda: not owner._queued_bytes, "the thread to have written")
                if fails and when == "amid":
                    monkeypatch.setattr(module, "os", TornDisk())
        recording.received(memoryview(b"\0\0"), owner.now_s(), session())
        recording.end()
        stop(owner)
        held = sum(path.stat().st_size for path in folder.iterdir()) if folder.exists() else 0
        return held, owner.missed_bytes

    whole, missed = record(tmp_path / "well", fails=False)
    assert (whole > 5000, missed) == (True, 0)
    held, missed = record(tmp_path / "ill", fails=True)
    assert held + missed == whole
    assert (held == 0) == (when == "before")


class TornDisk:
    """`os`, where a write takes ten bytes, and the next none."""

    def __init__(self) -> None:
        self._is_full = False

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: memoryview) -> int:
        if self._is_full:
            raise OSError(28, "No space left on device")
        self._is_full = True
        return os.write(descriptor, data[:10])


def test_a_file_ends_before_the_frame_that_would_outgrow_it(
    tmp_path: Path, made: list[Recorder]
) -> None:
    owner = recorder(made, tmp_path, max_file_bytes=1000)
    with capture_logs() as logs:
        recording = owner.begin()
        for size in (400, 400, 400, 10):
            hear(recording, owner, Audio(stream=1, data=bytes(size)))
        stop(owner)
    (path,) = tmp_path.iterdir()
    assert types_in(path) == ["audio", "audio"]
    assert endings(logs) == ["the file is as long as recording.max_file_bytes allows"]
    assert 400 + 10 < owner.missed_bytes < 400 + 10 + 200


def test_a_disk_that_does_not_keep_up_costs_recordings_and_never_memory(
    tmp_path: Path, made: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, is_writing = threading.Event(), threading.Event()

    class SlowDisk:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, descriptor: int, data: memoryview) -> int:
            is_writing.set()
            assert may_write.wait(20)
            return os.write(descriptor, data)

    monkeypatch.setattr(module, "os", SlowDisk())
    owner = recorder(made, tmp_path, max_queued_bytes=5000)
    greedy, modest = owner.begin(), owner.begin()
    with capture_logs() as logs:
        hear(greedy, owner, Ping())
        assert is_writing.wait(20)
        for _ in range(100):
            hear(greedy, owner, Audio(stream=1, data=bytes(1000)))
        assert owner._queued_bytes <= 5000
        hear(modest, owner, Ping(), name="s2")
        may_write.set()
        stop(owner)
    assert endings(logs) == ["the disk does not keep up"]
    assert owner.missed_bytes > 90_000
    first, second = sorted(tmp_path.iterdir())
    assert types_in(first) == ["ping"] + ["audio"] * 4
    assert types_in(second) == ["ping"]
    assert owner._queued_bytes == 0


def test_a_bug_in_recording_costs_the_recording(
    tmp_path: Path, made: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[bytes]:
        raise ZeroDivisionError

    monkeypatch.setattr("asrd.wire.recording.Tape.received", fail)
    owner = recorder(made, tmp_path)
    with capture_logs() as logs:
        recording = owner.begin()
        hear(recording, owner, Ping())
        hear(recording, owner, Ping())
    assert [line["event"] for line in logs] == ["recording_failed", "recording_ended"]


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/nothing/here"])
def test_a_directory_that_cannot_be_is_told_at_the_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    config = Config(recording=Recording(directory=str(tmp_path / name)))
    with pytest.raises(StartupError, match="name another directory with --record") as failure:
        recorder_of(config, VirtualClock())
    assert failure.value.exit_code == 73


def test_nobody_records_unless_told_to() -> None:
    assert recorder_of(Config(), VirtualClock()) is None


def test_the_log_is_json_and_warns_of_audio(tmp_path: Path, made: list[Recorder]) -> None:
    with capture_logs() as logs:
        owner = recorder(made, tmp_path)
        hear(owner.begin(), owner, Hello())
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("audio_is_recorded", "warning"),
        ("recording_began", "info"),
    ]
    assert TOKEN not in json.dumps(logs)


def test_a_frame_may_be_as_long_as_that_connection_was_promised(
    tmp_path: Path, made: list[Recorder]
) -> None:
    owner = recorder(made, tmp_path)
    long = Audio(stream=1, data=bytes(2_000_000))
    with capture_logs() as logs:
        promised, usual = owner.begin(2**22), owner.begin()
        hear(promised, owner, long)
        hear(usual, owner, long, name="s2")
        hear(usual, owner, Ping(), name="s2")
        stop(owner)
    first, second = sorted(tmp_path.iterdir())
    (frame,) = read_frames(FrameCutter(2**22), first.read_bytes())
    assert (frame.fields or {})["type"] == "audio"
    assert types_in(second) == []
    assert endings(logs) == ["what came is no frame, and nothing behind it can be one"]


def test_a_peer_is_recorded_by_the_limit_that_counts_for_it(
    tmp_path: Path, made: list[Recorder], registry: Registry
) -> None:
    async def scenario() -> None:
        room = Room(registry, limits={"max_frame_bytes": 2**22, "max_chunk_bytes": 2**21})
        peer = RecordedPeer(
            FakeChannel(),
            recorder=recorder(made, tmp_path),
            uid=0,
            hub=room.hub,
            sessions=room.sessions,
            reporter=room.reporter,
            turns=room.turns,
            shelf=room.shelf,
        )
        said = Audio(stream=1, data=bytes(2_000_000))
        peer.received(memoryview(encode(Hello()) + encode(said)))
        peer.lost()
        await room.hub.stop()

    run(scenario)
    stop(made[0])
    (path,) = tmp_path.iterdir()
    frames = read_frames(FrameCutter(2**22), path.read_bytes())
    assert [(frame.fields or {})["type"] for frame in frames] == ["hello", "audio"]


def test_a_disk_that_does_not_answer_holds_up_the_end_for_a_moment_only(
    tmp_path: Path, made: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write, is_writing = threading.Event(), threading.Event()

    class DeadDisk:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, descriptor: int, data: memoryview) -> int:
            is_writing.set()
            assert may_write.wait(20)
            return os.write(descriptor, data)

    monkeypatch.setattr(module, "os", DeadDisk())
    owner = recorder(made, tmp_path)
    with capture_logs() as logs:
        hear(owner.begin(), owner, Ping())
        assert is_writing.wait(20)
        stop(owner)
        assert "recordings_unfinished" in [line["event"] for line in logs]
        may_write.set()
