"""What `asrd bench` might have measured."""

from asrd.cli.benching.measurements import Measurement, Setup


def measurement(
    streams: int,
    *runs_s: float,
    slots: int | None = None,
    others: float = 0,
    used: float | None = None,
) -> Measurement:
    """Of a recording of 60 s; as many slots are used as there are."""
    return Measurement(
        setup=Setup(streams=streams, slots=slots or streams),
        audio_s=60.0,
        runs_s=runs_s,
        decode_p50_ms=100.0,
        decode_p95_ms=200.0,
        memory_bytes=300_000_000,
        cores=1.0,
        other_cores=others,
        slots_used=used or slots or streams,
    )


def at_speed(streams: int, speed: float, *, slots: int | None = None) -> Measurement:
    return measurement(streams, streams * 60 / speed, slots=slots)
