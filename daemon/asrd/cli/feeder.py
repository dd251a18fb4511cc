"""Blocking reads in a thread, handed to the loop a few blocks ahead.

The thread is a daemon: a read of a silent pipe or of a dead network disk can never be ended from
outside, and must not keep the process. asyncio's own executor would wait for it at exit.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from asrd.client import Stream


class _End:
    """Behind the last block; `error` is what ended the source early."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error: Final = error


class Feeder:
    """Asynchronous iteration over a blocking iterator of blocks of bytes.

    At most `depth` blocks are read ahead. Errors of the source are raised here.
    """

    def __init__(self, source: Iterator[bytes], name: str, *, depth: int) -> None:
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[bytes | _End] = asyncio.Queue()  # bounded by `_room`
        self._room = threading.Semaphore(depth)
        self._is_stopped = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            item = await self._blocks.get()
            self._room.release()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def stop(self) -> None:
        """End the iteration behind what was read already. The thread ends with its next block."""
        self._is_stopped = True
        self._room.release()
        self._blocks.put_nowait(_End())

    def _run(self) -> None:
        try:
            for block in self._source:
                self._room.acquire()
                if self._is_stopped:
                    break
                self._post(block)
            self._post(_End())
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            self._post(_End(error))

    def _post(self, item: bytes | _End) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._blocks.put_nowait, item)


@contextlib.asynccontextmanager
async def feeding(stream: "Stream", blocks: AsyncIterable[bytes]) -> AsyncIterator[None]:
    """Send `blocks` and then close the stream, while the block of code reads what comes back.

    An error of the source ends the stream and is raised at the end of the block; a connection
    that breaks or a stream that the daemon ends is told by the stream itself.
    """
    sender = asyncio.create_task(_feed(stream, blocks), name="asrd-feed")
    try:
        yield
        await sender
    finally:
        sender.cancel()
        await asyncio.wait([sender])
        if not sender.cancelled():
            sender.exception()  # the error that is on its way already has the better story


async def _feed(stream: "Stream", blocks: AsyncIterable[bytes]) -> None:
    from asrd.client import ConnectionLost, StreamEnded

    try:
        async for block in blocks:
            await stream.send(block)
    except (ConnectionLost, StreamEnded):
        return
    except Exception:
        await stream.cancel()
        raise
    with contextlib.suppress(ConnectionLost):
        await stream.close()
