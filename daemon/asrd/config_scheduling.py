"""How decodes are admitted: slots, queues, batches, and what is done under load."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from asrd.ranges import Count, Factor, Load, Ratio, Reason, Seconds, Share, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much new audio an open utterance must hold before it is read again.

    `load` is the decode time that live streams ask for per second, over the decode slots.
    """

    idle_s: Seconds = 2.0
    """While there is little load, in seconds of audio. Less brings partials sooner and costs more
    decodes."""
    busy_s: Seconds = 4.0
    """The same from `busy_load` on."""
    critical_s: Seconds = 8.0
    """The same from `critical_load` on."""
    busy_load: Load = 0.5
    """Above it partials come every `busy_s`."""
    critical_load: Load = 1.0
    """Above it partials come every `critical_s`. At 1 live streams ask for all that there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderRule:
    """When and how service degrades under overload, one step at a time.

    A step is taken when the load, or the age of the oldest live final that waits, has been above
    its threshold for `up_after_s`; it is taken back when both have been below `down_ratio` of it
    for `down_after_s`.
    """

    enabled: bool = True
    """Whether less is done for each under overload. Without it the queue alone decides."""
    longer_chunks_load: Load = 0.8
    """From that load on utterances are read less often while they grow."""
    longer_chunks_age_s: Seconds = 2.0
    """The same, by the age of the oldest live final that waits, in seconds."""
    fewer_partials_load: Load = 1.0
    """From that load on there are fewer partials, and then smaller models where there are any."""
    fewer_partials_age_s: Seconds = 4.0
    """The same, by the age of the oldest live final that waits, in seconds."""
    shed_load: Load = 1.2
    """From that load on the secondary source gets finals only, and then its backlog is cut."""
    shed_age_s: Seconds = 8.0
    """The same, by the age of the oldest live final that waits, in seconds."""
    up_after_s: Seconds = 3.0
    """For so many seconds a threshold must be passed before a step is taken."""
    down_after_s: Seconds = 20.0
    """For so many seconds things must be well before a step is taken back. Less lets it swing."""
    down_ratio: Ratio = 0.8
    """What well is: below that part of the threshold."""
    shed_backlog_s: Seconds = 5.0
    """Audio that a live stream of the secondary source may have waiting once it is shed, in
    seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """Between which bounds `slots = "auto"` moves, and by what.

    One slot is given back while other programs use more than `cpu_high` of the machine's CPU time,
    or less than `memory_low` of its memory is left; one is taken while they use less than
    `cpu_low`, `memory_high` is left, and work waits.
    """

    min_slots: Count = 1
    """The fewest slots. No more than `max_slots`."""
    max_slots: Count | None = None
    """The most slots; none: as many as there are cores."""
    cpu_low: Share = 0.4
    """Other programs use less of the CPU time than this: a slot may be taken."""
    cpu_high: Share = 0.6
    """They use more than this: a slot is given back."""
    memory_low: Size = "5%"
    """Less memory than this is left: a slot is given back."""
    memory_high: Size = "10%"
    """More memory than this is left: a slot may be taken."""
    step_s: Seconds = 1.0
    """The least time between two changes, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """How many windows are read in one call, where an engine can."""

    max_batch: Count = 16
    """Windows of one call; 1: each is read by itself."""
    max_s: Seconds = 1.0
    """Predicted time of one call with more than one window, in seconds. Less keeps answers
    even, more reads more at once."""
    max_slowdown: Factor = 1.5
    """How many times longer a window may take because less urgent ones are read with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """How decodes are admitted."""

    slots: Count | Literal["auto"] = 1
    """The global inference lock: local decodes at a time, over all providers. `auto`: as many as
    the machine bears, see `scheduling.concurrency`. More than one pays where decodes leave cores
    idle."""
    group_slots: Mapping[str, Count] = field(default_factory=dict)
    """Slots of other device groups, by the name that providers give as their `device_group`."""
    max_waiting: Mapping[str, Count] = field(default_factory=lambda: {"mic": 100, "system": 50})
    """Streams of a source that may wait for a decode."""
    max_waiting_others: Count = 50
    """The same, for each source that `max_waiting` does not name."""
    queue_timeout_s: Seconds | None = 60.0
    """A live final that has waited for so many seconds goes to the next provider, or is dropped;
    none: it waits for as long as it takes."""
    background_share: Annotated[
        float, Ge(0), Le(0.5), Reason("more than half would put what can wait before what cannot")
    ] = 0.05
    """Decode time kept for waiting streams of lower priority, whatever else there is to do. Needs
    a restart."""
    preemption: bool = True
    """Finals of priority 1 and 2 end a running decode of priority 6 or lower."""
    batches: Batches = Batches()
    agreement: Annotated[
        int, Ge(1), Le(10), Reason("one reading is the least, more than 10 are never had in time")
    ] = 2
    """Readings of a growing utterance in a row that have to agree on a word before it is told as
    stable. More changes its mind less often, and tells later."""
    pace: Pace = Pace()
    ladder: LadderRule = LadderRule()
    concurrency: Concurrency = Concurrency()
