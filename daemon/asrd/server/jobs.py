"""What a stream wants, as the scheduler and a worker are told it."""

from collections.abc import Hashable

from asrd.abilities import Abilities
from asrd.providers import calls
from asrd.scheduler.queue import Job
from asrd.scheduler.slots import Alone
from asrd.server.served import ServedStream
from asrd.session.stream import Want, Window


def job_of(served: ServedStream, want: Want, abilities: Abilities) -> Job:
    """The job that a stream stands in the queue for, with a model of these abilities."""
    asked, key = served.asked, served.key
    is_partial = want is Want.PARTIAL
    batch_key: Hashable = None
    if served.goes_alone:
        batch_key = Alone(served.served_id)
    elif abilities.max_batch > 1:
        context_s = abilities.context_s(served.stream.next_window_s, is_partial=is_partial)
        # Prompts of other lengths could not share the engine's call.
        batch_key = (context_s, is_partial, asked.words, asked.prompt)
    return Job(
        stream=served.served_id,
        session=served.session.session_id,
        priority=served.priority,
        is_partial=is_partial,
        model=key,
        batch_key=batch_key,
        provider=key.provider,
        source=asked.source,
        is_live=served.is_live,
    )


def waiting_since_s(served: ServedStream) -> float | None:
    """When the final of a live stream began to wait, its turn with another model apart.

    None for a lossless one, which waits behind what its own stream holds, however long that is.
    """
    since_s = served.stream.waiting_since_s
    if not served.is_live or since_s is None:
        return None
    return max(since_s, served.waits_anew_s)


def item_of(served: ServedStream, window: Window) -> calls.Item:
    """A stream's window as it is given to a worker."""
    asked = served.asked
    return calls.Item(
        audio=window.audio.tobytes(),
        language=asked.language,
        task=asked.task,
        words=asked.words,
        prompt=asked.prompt,
        is_partial=window.want is Want.PARTIAL,
    )
