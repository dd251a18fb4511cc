"""What a stream wants, as the scheduler and a worker are told it."""

from collections.abc import Hashable

from asrd.abilities import Abilities
from asrd.providers import calls
from asrd.scheduler.queue import Job
from asrd.scheduler.slots import Alone
from asrd.server.served import ServedStream
from asrd.session.stream import Want, Window
from asrd.wire.messages import Open


def job_of(served: ServedStream, want: Want, abilities: Abilities) -> Job:
    """The job that a stream stands in the queue for, with a model of these abilities."""
    asked, key = served.asked, served.key
    batch_key: Hashable = None
    if served.goes_alone:
        batch_key = Alone(served.served_id)
    elif abilities.max_batch > 1 and (window := served.stream.reading.next_window) is not None:
        is_brief = not window.is_thorough
        context_s = abilities.context_s(window.audio_s, is_partial=is_brief)
        # Other prompts are mostly of other lengths, which could not share the engine's call.
        batch_key = (context_s, is_brief, asked.words, _prompt(asked, window.prompt))
    return Job(
        stream=served.served_id,
        session=served.session.session_id,
        priority=served.priority,
        is_partial=want is Want.PARTIAL,
        model=key,
        batch_key=batch_key,
        provider=key.provider,
        source=served.counted_as,
        is_live=served.is_live,
        is_fed=abilities.feed_s is not None,
    )


def waiting_since_s(served: ServedStream) -> float | None:
    """When the final of a live stream began to wait, its turn with another model apart.

    None for a lossless one, which waits behind what its own stream holds, however long that is.
    """
    since_s = served.stream.reading.waiting_since_s
    if not served.is_live or since_s is None:
        return None
    return max(since_s, served.waits_anew_s)


def item_of(served: ServedStream, window: Window) -> calls.Item:
    """A stream's window as it is given to a worker."""
    asked, part = served.asked, window.part
    feeding = None
    if part is not None:
        feeding = calls.Feeding(
            utterance=utterance_number(served, part.number),
            is_first=part.is_first,
            is_last=part.is_last,
        )
    return calls.Item(
        audio=window.audio.tobytes(),
        language=asked.language,
        task=asked.task,
        words=asked.words,
        prompt=_prompt(asked, window.prompt),
        is_partial=not window.is_thorough,
        feeding=feeding,
    )


def utterance_number(served: ServedStream, number: int) -> int:
    """What a worker knows an utterance by that its stream knows as `number`."""
    return served.served_id << 32 | number


def _prompt(asked: Open, said: str) -> str | None:
    """What the client gave as a prompt, and behind it what was said before the window."""
    return f"{asked.prompt or ''} {said}".strip() if said else asked.prompt
