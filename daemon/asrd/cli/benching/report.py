"""How what `asrd bench` has measured is shown: as a table with its legend, or as JSON. Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from asrd.choices import Setting
from asrd.cli.benching.advice import Advice, advise, doubts
from asrd.cli.benching.measurements import Measurement, as_cores, as_times
from asrd.cli.tables import REPORT_COLUMNS, as_size, entry, render

MEMORY_WORDS = {
    "pss": "PSS, where pages that processes share count once",
    "uss": "USS, without pages that processes share",
    "rss": "RSS, where pages that processes share count in each",
}
"""What each way to count memory means, by its usual name."""

Chosen = Mapping[str, Mapping[str, Setting]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured, and on what. `is_cut`: the file goes on behind `audio_s`.

    `asked_provider`, `asked_model` and `asked_settings` are what the command line named; all else
    is configured already.
    """

    file: str
    audio_s: float
    is_cut: bool
    cores: int
    memory_kind: str
    provider: str = ""
    model: str = ""
    asked_provider: str | None = None
    asked_model: str | None = None
    asked_settings: Chosen = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that was measured. `is_whole`: nothing is missing, and something can be advised."""

    subject: Subject
    measured: tuple[Measurement, ...] = ()
    control: Measurement | None = None
    is_whole: bool = False

    @property
    def advice(self) -> Advice | None:
        """What to configure, or that nothing can be said; None for half a measurement."""
        if not self.is_whole:
            return None
        return advise(self.measured, self.control, self.subject.cores)

    @property
    def every(self) -> tuple[Measurement, ...]:
        """The measurements in the order in which they were made."""
        return self.measured if self.control is None else (*self.measured, self.control)


def title(subject: Subject) -> str:
    """What was measured on what, in a line."""
    cut = "the first " if subject.is_cut else ""
    return (
        f"{subject.provider}, model {subject.model}: {cut}{subject.audio_s:.1f} s of "
        f"{subject.file} in each stream, on {as_cores(subject.cores)}"
    )


def as_text(outcome: Outcome) -> str:
    """A table, what its columns mean, and what to write where."""
    return "\n".join(_lines(outcome))


def _lines(outcome: Outcome) -> Iterator[str]:
    subject, advice = outcome.subject, outcome.advice
    has_gpu = any(each.gpu_memory_bytes for each in outcome.every)
    headings = ["STREAMS", "SLOTS", "USED", "SECONDS", "SPEED", "P50", "P95", "MEMORY"]
    headings += [*(["GPU"] if has_gpu else []), "CORES", ""]
    sweet = None if advice is None else advice.sweet
    yield from entry("", [title(subject)])
    yield ""
    yield render(
        headings,
        [_row(each, has_gpu=has_gpu, is_sweet=each is sweet) for each in outcome.every],
        is_right_from=0,
        columns=REPORT_COLUMNS,
    )
    yield ""
    for line in _legend(subject, has_sweet_spot=sweet is not None):
        yield from entry("", [line])
    for doubt in doubts(outcome.every, subject.cores):
        yield from entry("note: ", [doubt])
    if advice is not None:
        yield ""
        yield from entry("", [advice.why])
    if advice is not None and advice.slots is not None:
        yield ""
        yield configuration(subject, advice.slots)


def _legend(subject: Subject, *, has_sweet_spot: bool) -> Iterator[str]:
    words = MEMORY_WORDS[subject.memory_kind]
    yield "used: decodes under way at a time, on average; p50, p95: what one took"
    yield "speed: seconds of audio, of all streams together, read in a second"
    yield f"memory: the most that daemon and workers held, loading too ({words})"
    yield "cores: kept busy by them, on average"
    if has_sweet_spot:
        yield "*: the sweet spot"


def _row(measured: Measurement, *, has_gpu: bool, is_sweet: bool) -> list[str]:
    gpu = [as_size(measured.gpu_memory_bytes)] if has_gpu else []
    return [
        str(measured.setup.streams),
        str(measured.setup.slots),
        f"{measured.slots_used:.1f}",
        f"{measured.seconds:.2f}",
        as_times(measured.speed),
        f"{measured.decode_p50_ms:.0f} ms",
        f"{measured.decode_p95_ms:.0f} ms",
        as_size(measured.memory_bytes),
        *gpu,
        f"{measured.cores:.1f}",
        "*" if is_sweet else "",
    ]


def configuration(subject: Subject, slots: int) -> str:
    """The lines of a configuration file that make a daemon what was measured."""
    lines = []
    if subject.asked_provider is not None:
        lines.append(f"provider = {_toml(subject.asked_provider)}")
    if subject.asked_model is not None:
        lines.append(f"model = {_toml(subject.asked_model)}")
    if lines:
        lines.append("")
    for provider, settings in subject.asked_settings.items():
        lines.append(f"[providers.{_toml_key(provider)}.settings]")
        lines += [f"{_toml_key(key)} = {_toml(value)}" for key, value in settings.items()]
        lines.append("")
    return "\n".join([*lines, "[scheduling]", f"slots = {slots}"])


def _toml_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Setting) -> str:
    """As TOML writes it: like JSON, but for one character and for numbers that JSON lacks."""
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same for programs."""
    subject, advice = outcome.subject, outcome.advice
    sweet, slots = (None, None) if advice is None else (advice.sweet, advice.slots)
    return {
        "file": subject.file,
        "audio_s": subject.audio_s,
        "is_cut": subject.is_cut,
        "provider": subject.provider,
        "model": subject.model,
        "cores": subject.cores,
        "memory_kind": subject.memory_kind,
        "steps": [_as_dict(each) for each in outcome.measured],
        "control": None if outcome.control is None else _as_dict(outcome.control),
        "is_whole": outcome.is_whole,
        "sweet_spot": None if sweet is None else sweet.setup.streams,
        "slots": slots,
        "why": None if advice is None else advice.why,
        "configuration": None if slots is None else configuration(subject, slots),
        "notes": doubts(outcome.every, subject.cores) if outcome.every else [],
    }


def _as_dict(measured: Measurement) -> dict[str, Any]:
    fields = asdict(measured)
    del fields["audio_s"]
    return {
        **fields.pop("setup"),
        "seconds": round(measured.seconds, 4),
        "speed": round(measured.speed, 3),
        **fields,
    }
