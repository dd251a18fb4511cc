"""Writing: whole, without blocking the loop, and honest when it fails."""

import asyncio
import os
from pathlib import Path

import pytest

from asrd.cli.exits import CommandError, Exit, OutputClosed
from asrd.cli.output import Output


def test_a_reader_that_stands_still_does_not_stop_the_loop() -> None:
    text = "0123456789" * 50_000  # far more than a pipe holds

    async def scenario() -> bytes:
        read_end, write_end = os.pipe()
        with os.fdopen(read_end, "rb") as reader, Output(write_end, "x", is_owned=True) as output:
            writing = asyncio.create_task(output.write(text))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not writing.done()  # and we are still here
            reading = asyncio.create_task(asyncio.to_thread(reader.read, len(text)))
            await writing
            return await reading

    assert asyncio.run(scenario()) == text.encode()


def test_a_reader_that_has_gone_ends_quietly() -> None:
    async def scenario() -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        with Output(write_end, "x", is_owned=True) as output:
            await output.write("x")

    with pytest.raises(OutputClosed) as caught:
        asyncio.run(scenario())
    assert caught.value.code is Exit.IO


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_told() -> None:
    async def scenario() -> None:
        with Output.to_file(Path("/dev/full")) as output:
            await output.write("x")

    with pytest.raises(CommandError, match="No space left") as caught:
        asyncio.run(scenario())
    assert caught.value.code is Exit.IO


def test_a_file_is_emptied_and_written(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("something longer than what comes")

    async def scenario() -> None:
        with Output.to_file(path) as output:
            await output.write("žluť\n")
            await output.write("")

    asyncio.run(scenario())
    assert path.read_text(encoding="utf-8") == "žluť\n"


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file") as caught:
        Output.to_file(tmp_path / "no" / "f")
    assert caught.value.code is Exit.IO


def test_devices_that_are_always_ready_are_written_at_once() -> None:
    async def scenario() -> None:
        with Output.to_file(Path(os.devnull)) as output:
            await output.write("x" * 10_000)

    asyncio.run(scenario())
