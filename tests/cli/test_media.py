"""Files of all kinds become 16 kHz mono, with the player's times."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from asrd.cli.exits import CommandError, Exit
from asrd.cli.media import BLOCK_BYTES, Media
from cli.conftest import write_media

NOBODY_UID = 65_534


def decode(path: Path) -> tuple[bytes, Media]:
    media = Media(path)
    return b"".join(media.blocks()), media


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / 16000


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a", "a.mkv"])
def test_every_rate_and_layout_becomes_sixteen_kilohertz_mono(tmp_path: Path, name: str) -> None:
    path = write_media(tmp_path / name, audio_s=1.5, rate=44100, layout="stereo")
    pcm, media = decode(path)
    assert seconds(pcm) == pytest.approx(1.5, abs=0.1)
    assert media.duration_s == pytest.approx(1.5, abs=0.1)
    assert media.broken_packets == 0


def test_audio_comes_a_second_at_a_time(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.wav", audio_s=3.5)
    sizes = [len(block) for block in Media(path).blocks()]
    assert len(sizes) == 4
    assert all(BLOCK_BYTES <= size < BLOCK_BYTES * 1.2 for size in sizes[:-1])


def test_the_whole_file_is_never_in_memory(tmp_path: Path) -> None:
    """The first block of eighteen hours comes before the second is decoded."""
    path = tmp_path / "a.wav"
    size = 2**31 - 36
    with path.open("wb") as file:
        riff = struct.pack("<4sI4s", b"RIFF", size + 36, b"WAVE")
        shape = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
        file.write(riff + shape + struct.pack("<4sI", b"data", size))
        file.truncate(size + 44)  # sparse: it takes no place on the disk
    blocks = Media(path).blocks()
    assert len(next(blocks)) >= BLOCK_BYTES
    blocks.close()  # type: ignore[attr-defined]


def test_silence_stands_for_audio_that_begins_behind_the_picture(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mkv", audio_s=1, video_s=3, audio_at_s=1.5)
    pcm, _ = decode(path)
    assert seconds(pcm) == pytest.approx(2.5, abs=0.1)
    assert not any(pcm[: 2 * 16000])
    assert any(pcm[int(1.6 * 32000) :])


def test_a_file_that_is_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_media(tmp_path / "a.mp3", audio_s=4)
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 1 < seconds(decode(cut)[0]) < 3


def test_broken_pieces_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.m4a", audio_s=4)
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + 4 + 4000
    data[middle : middle + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    pcm, media = decode(path)
    assert media.broken_packets > 0
    assert seconds(pcm) > 2


@pytest.mark.parametrize("name", ["concat:x.wav", "http:x.wav", "-x.wav", "x'\n.wav"])
def test_a_name_is_a_name_and_no_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_media(tmp_path / "plain.wav", audio_s=1).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert seconds(decode(Path(name))[0]) == pytest.approx(1)


def test_a_pipe_can_be_read(tmp_path: Path) -> None:
    """As in `asrd transcribe <(sox ...)`."""
    whole = write_media(tmp_path / "a.wav", audio_s=1).read_bytes()
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb") as pipe:
        pipe.write(whole)
        pipe.close()
        pcm, _ = decode(Path(f"/dev/fd/{read_end}"))
    assert seconds(pcm) == pytest.approx(1)


def failure(path: Path) -> CommandError:
    with pytest.raises(CommandError) as caught:
        decode(path)
    return caught.value


def test_what_is_no_input(tmp_path: Path) -> None:
    missing, folder = failure(tmp_path / "no.wav"), failure(tmp_path)
    assert missing.code is folder.code is Exit.NO_INPUT
    assert "there is no file" in str(missing)
    assert "is a directory" in str(folder)


@contextmanager
def somebody() -> Iterator[None]:
    """A user who is not root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(NOBODY_UID)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_file_that_may_not_be_read() -> None:
    """Root may read everything, so root is somebody else meanwhile."""
    with TemporaryDirectory() as folder:  # pytest's belong to who has started it alone
        Path(folder).chmod(0o755)
        path = write_media(Path(folder) / "a.wav", audio_s=1)
        decode(path)  # imports what it needs, which somebody else may not
        with somebody():
            assert seconds(decode(path)[0]) == pytest.approx(1, abs=0.1)
        path.chmod(0)
        with somebody():
            found = failure(path)
    assert found.code is Exit.NO_INPUT
    assert "may not be read: check its permissions" in str(found)


def test_what_is_no_audio(tmp_path: Path) -> None:
    empty, text, header = (tmp_path / name for name in ("empty.wav", "text.wav", "header.wav"))
    empty.touch()
    text.write_text("words and nothing but words\n" * 100)
    header.write_bytes(write_media(tmp_path / "a.wav", audio_s=1).read_bytes()[:44])
    picture = write_media(tmp_path / "picture.mkv", audio_s=0, video_s=1)
    for path, words in (
        (empty, "is empty"),
        (text, "is no audio or video file"),
        (header, "no audio"),
        (picture, "has no audio"),
    ):
        error = failure(path)
        assert error.code is Exit.DATA, path
        assert words in str(error)
