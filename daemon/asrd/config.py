"""Every setting of the daemon, its default and its unit.

Sizes, counts and times that protect the daemon are all here, by name; code refers to them and
never to a number of its own.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Setting = str | int | float | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer may cost."""

    max_frame_bytes: int = 2**20
    max_chunk_bytes: int = 2**16
    max_connections: int = 256
    max_streams: int = 64
    """Open streams of one session."""
    max_utterance_s: float = 30.0
    credit_window_s: float = 60.0
    """Lossless: audio that may be sent ahead of the commit. More than the longest utterance, so
    that an utterance can always be completed."""
    live_backlog_s: float = 60.0
    """Live: audio held per stream before the oldest is dropped."""
    outbox_bytes: int = 256 * 1024
    outbox_messages: int = 1000
    send_timeout_s: float = 5.0
    hello_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    resume_window_s: float = 60.0
    max_detached_sessions: int = 256
    kept_segments: int = 1000
    """Segments of one stream kept to be sent again after a broken connection."""
    drain_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """How decodes are admitted."""

    slots: int = 1
    """The global inference lock: local decodes at a time, over all providers."""
    decodes_per_provider: int = 1
    partial_interval_s: float = 1.0
    """New audio that an open utterance must hold before it is read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration of one daemon.

    `provider_settings` maps a provider's name to its own settings, which only it understands.
    `eager` loads the default model at start; else it is loaded when first asked for.
    """

    provider: str = "moonshine"
    model: str | None = None
    eager: bool = True
    provider_settings: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    limits: Limits = Limits()
    scheduling: Scheduling = Scheduling()


def default_socket_path() -> Path:
    """Where daemon and clients meet unless told otherwise.

    `/run/asrd/asrd.sock` for root, `$XDG_RUNTIME_DIR/asrd/asrd.sock` for everybody else, and a
    folder under /tmp that bears the uid where there is no such directory (macOS, bare containers).
    """
    if os.geteuid() == 0:
        return Path("/run/asrd/asrd.sock")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "asrd" / "asrd.sock"
    return Path(f"/tmp/asrd-{os.geteuid()}/asrd.sock")  # noqa: S108 - 0700 and checked at bind
