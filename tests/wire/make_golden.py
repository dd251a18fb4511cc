"""The golden frames: `python tests/wire/make_golden.py` writes `golden/*.hex` anew.

Every frame is packed here by hand, with msgpack-python and struct alone, so that no mistake of
asrd's codec can hide in what the codec is tested with. The values are written out once more, as
asrd's messages, in `test_codec.py`.
"""

import struct
import textwrap
from pathlib import Path
from typing import Any

import msgpack

GOLDEN = Path(__file__).parent / "golden"

FRAMES: dict[str, dict[str, Any]] = {
    "client_hello": {
        "type": "hello",
        "version": 1,
        "client": "golden 1.0",
        "resume": "c2Vzc2lvbg",
        "have": {1: 41, 4294967296: 0},
    },
    "client_open": {
        "type": "open",
        "stream": 1,
        "source": "system",
        "priority": 3,
        "delivery": "lossless",
        "provider": "echo",
        "model": "plain",
        "language": "en",
        "task": "translate",
        "encoding": "pcm_f32le",
        "sample_rate": 48000,
        "channels": 2,
        "partials": False,
        "words": True,
        "endpointing_ms": 700,
        "prompt": "Größe, 大きさ",
        "start_offset": 9007199254740992,
        "start_id": 42,
    },
    "client_audio": {
        "type": "audio",
        "stream": 1,
        "data": b"\x00\x00\x01\x00\xff\xff\x00\x80\xff\x7f",
        "offset": 16000,
    },
    "client_flush": {"type": "flush", "stream": 1},
    "client_close": {"type": "close", "stream": 1},
    "client_cancel": {"type": "cancel", "stream": 1},
    "client_ping": {"type": "ping", "id": 18446744073709551615},
    "client_health": {"type": "health", "deep": True},
    "client_stats": {"type": "stats", "streams": True},
    "client_load": {"type": "load", "provider": "echo", "model": "plain"},
    "client_unload": {"type": "unload", "provider": "echo", "model": "plain"},
    "server_welcome": {
        "type": "welcome",
        "version": 1,
        "server": "asrd 0.1.0",
        "session": "s1",
        "resume": "c2Vzc2lvbg",
        "resumed": True,
        "streams": {1: 240960, 4294967296: 0},
        "limits": {"max_frame_bytes": 1048576, "resume_window_s": 60.0},
        "providers": ["echo", "moonshine"],
    },
    "server_opened": {
        "type": "opened",
        "stream": 1,
        "provider": "echo",
        "model": "plain",
        "priority": 5,
        "delivery": "lossless",
        "credit": 960000,
    },
    "server_credit": {"type": "credit", "stream": 1, "offset": 976000},
    "server_partial": {
        "type": "partial",
        "stream": 1,
        "id": 42,
        "start": 12.5,
        "end": 13.75,
        "text": "it was the",
        "stable": 6,
    },
    "server_segment": {
        "type": "segment",
        "stream": 1,
        "id": 42,
        "start": 12.5,
        "end": 15.0625,
        "text": "It was the age of wisdom,",
        "offset": 240960,
        "words": [
            {"word": "It", "start": 12.5, "end": 12.625, "probability": 0.75},
            {"word": "was", "start": 12.625, "end": 13.0, "probability": 0.5},
        ],
        "language": "en",
        "confidence": 0.875,
        "provider": "echo",
        "model": "plain",
        "latency_ms": 87.5,
    },
    "server_ack": {"type": "ack", "stream": 1, "offset": 256960},
    "server_event": {
        "type": "event",
        "stream": 1,
        "event": "dropped",
        "at": 16.5,
        "start": 16.0,
        "end": 16.5,
        "reason": "backlog",
        "level": 2,
        "action": "partials off",
    },
    "server_flushed": {"type": "flushed", "stream": 1, "offset": 272960},
    "server_closed": {
        "type": "closed",
        "stream": 1,
        "reason": "shutdown",
        "offset": 272960,
        "segments": 7,
        "audio_seconds": 17.0625,
        "dropped_seconds": 0.5,
    },
    "server_pong": {"type": "pong", "id": "first"},
    "server_health": {
        "type": "health",
        "state": "degraded",
        "live": True,
        "ready": True,
        "providers": {
            "echo": {
                "state": "ready",
                "model": "plain",
                "last_inference_ms": 1.25,
                "consecutive_errors": 0,
                "restarts": 1,
                "load_s": 0.125,
                "memory_bytes": 150000000,
                "problem": "",
                "remedy": "",
                "is_default": True,
                "is_required": True,
                "is_loadable": False,
                "breaker": "half_open",
                "models": [
                    {
                        "model": "plain",
                        "state": "ready",
                        "streams": 2,
                        "last_inference_ms": 1.25,
                        "idle_s": 12.5,
                        "consecutive_errors": 0,
                        "restarts": 1,
                        "load_s": 0.125,
                        "warm_up_s": 0.0625,
                        "memory_bytes": 150000000,
                        "gpu_memory_bytes": 4294967296,
                        "pid": 4711,
                        "problem": "",
                    }
                ],
            }
        },
        "uptime_s": 3600.5,
        "voice_activity": {
            "model": "silero",
            "state": "ready",
            "streams": 0,
            "last_inference_ms": None,
            "idle_s": None,
            "consecutive_errors": 0,
            "restarts": 0,
            "load_s": 0.25,
            "warm_up_s": None,
            "memory_bytes": 90000000,
            "gpu_memory_bytes": 0,
            "pid": None,
            "problem": "",
        },
        "memory_bytes": 280000000,
    },
    "server_stats": {
        "type": "stats",
        "counters": {"finals": 7, "audio_s": 17.0625},
        "queues": {
            "source:mic": {"depth": 1, "limit": 100, "fill_ratio": 0.01, "decode_ms": {}},
            "provider:echo": {
                "real_time_factor": None,
                "queue_wait_ms": {"p50": 80.0, "p95": 120.5, "p99": 200.0},
                "batches": {"1": 120, "16": 2},
            },
        },
        "groups": {"local": {"slots": 1, "running": 1, "load": 0.875, "level": 1}},
        "errors": {"busy": 2},
        "latencies": {"decode_ms": {"p50": 80.0, "p95": 120.5, "p99": 200.0}},
        "real_time_factor": 0.0625,
        "level": 1,
        "streams": [
            {
                "session": "s1",
                "client": "golden 1.0",
                "is_connected": True,
                "stream": 4294967296,
                "source": "system",
                "priority": 2,
                "delivery": "live",
                "provider": "echo",
                "model": "plain",
                "state": "speaking",
                "level": 1,
                "audio_dbfs": -23.5,
                "audio_s": 17.0625,
                "backlog_s": 0.25,
                "uncommitted_s": 1.5,
                "dropped_s": 0.5,
                "segments": 7,
                "delay_ms": None,
            }
        ],
        "streams_left_out": 3,
    },
    "server_error": {
        "type": "error",
        "code": "rate_limited",
        "message": "at most 60 minutes of audio an hour",
        "fatal": False,
        "stream": 1,
        "retry_after_ms": 1500,
    },
}


def frame(value: object) -> bytes:
    """A frame of any msgpack value, packed without asrd."""
    payload: bytes = msgpack.packb(value)
    return struct.pack(">I", len(payload)) + payload


def golden(name: str) -> bytes:
    """The committed frame of that name."""
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def main() -> None:
    """Write one file of hexadecimal text for each frame."""
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.hex"):
        old.unlink()
    for name, value in FRAMES.items():
        text = textwrap.fill(frame(value).hex(), width=64)
        (GOLDEN / f"{name}.hex").write_text(text + "\n")


if __name__ == "__main__":
    main()
