"""Waits until what a stream needs is loaded, and says what is not."""

import asyncio
from collections.abc import Mapping

from asrd.errors import AsrdError, ErrorCode, ProtocolError
from asrd.providers.residency import NoRoom
from asrd.providers.resident import Resident

ROOM_RETRY_MS = 5000
"""When it is worth asking again for a model that has no room beside those in use."""


async def all_loaded(wanted: Mapping[str, Resident], stream: int | None) -> None:
    """Wait until all are loaded, side by side. `wanted` are their names for people.

    Raises:
        ProtocolError: one does not load, and why.
    """
    loads = (resident.ensure() for resident in wanted.values())
    for name, error in zip(
        wanted, await asyncio.gather(*loads, return_exceptions=True), strict=True
    ):
        if isinstance(error, AsrdError | OSError):
            raise ProtocolError(
                ErrorCode.PROVIDER_UNAVAILABLE,
                f"{name} does not load: {error}",
                stream=stream,
                retry_after_ms=ROOM_RETRY_MS if isinstance(error, NoRoom) else None,
            ) from error
        if error is not None:
            raise error
