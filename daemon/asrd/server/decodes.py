"""What became of a call to a worker, window by window."""

import asyncio
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from asrd.audio import SAMPLE_RATE
from asrd.errors import DecodeCancelled, ProviderError
from asrd.providers import calls
from asrd.providers.catalogue import ModelKey
from asrd.providers.supervisor import WorkerDied
from asrd.scheduler.batching import Batch, Took
from asrd.scheduler.measures import Outcome
from asrd.server.served import ServedStream
from asrd.server.summary import Decode
from asrd.session.effects import Effect
from asrd.session.states import StreamState
from asrd.session.stream import Want, Window


class Observer(Protocol):
    """Who watches what the daemon does, and changes nothing."""

    def decoded(self, served: ServedStream, decode: Decode) -> None:
        """A decode of a stream has ended; what the stream makes of it is told afterwards."""
        ...

    def told(self, served: ServedStream, told: Sequence[Effect]) -> None:
        """A stream tells something."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A window of a stream, given to a worker."""

    served: ServedStream
    window: Window


def result_of(answer: asyncio.Future[calls.AnyAnswer], windows: int) -> object:
    """What came of a call; an answer that does not fit counts as an error of the provider."""
    if answer.cancelled():
        return ProviderError("the decode was cancelled")
    error = answer.exception()
    if error is not None:
        return error
    result = answer.result()
    if isinstance(result, calls.Decoded) and len(result.outcomes) != windows:
        return ProviderError(f"{windows} windows were answered with {len(result.outcomes)}")
    return result


def each_of(result: object, count: int) -> list[object]:
    """What became of each window; what befell the call befell all."""
    if isinstance(result, calls.Decoded):
        return list(result.outcomes)
    return [result] * count


def outcome_of(read: Given | None, found: object) -> Outcome:
    """What `found` means for the job whose window it is; None: it gave no window."""
    if read is None or (isinstance(found, DecodeCancelled) and has_ended(read)):
        return Outcome.NOTHING
    if isinstance(found, calls.Read):
        return Outcome.READ
    is_undone = isinstance(found, calls.NotRead) and found.kind in ("cancelled", "forgotten")
    if is_undone or isinstance(found, DecodeCancelled | WorkerDied):
        return Outcome.PUT_BACK
    return Outcome.FAILED


def has_ended(read: Given) -> bool:
    """Whether the stream that a window is of has ended."""
    return read.served.stream.state is StreamState.CLOSED


def decodes_of(
    batch: Batch,
    took: Took,
    given: Mapping[Hashable, Given],
    key: ModelKey,
    outcomes: Sequence[Outcome],
) -> Iterator[tuple[ServedStream, Decode]]:
    """The decodes of a batch that has ended just now, with their streams."""
    for job, outcome, waited_s in zip(batch.jobs, outcomes, batch.waits_s, strict=True):
        if (read := given.get(job.stream)) is not None:
            yield (
                read.served,
                Decode(
                    key=key,
                    utterance=read.window.utterance,
                    audio_s=len(read.window.audio) / SAMPLE_RATE,
                    is_partial=read.window.want is Want.PARTIAL,
                    outcome=outcome,
                    windows=len(given),
                    waited_s=waited_s,
                    held_s=took.held_s,
                    share_s=took.share_s,
                    ended_s=took.ended_s,
                ),
            )
