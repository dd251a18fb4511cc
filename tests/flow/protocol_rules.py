"""What the protocol says of every message that a daemon sends, whatever it is about.

Written from the protocol's text alone, as tables and as rules for what must be true of a stream
from one message to the next.
"""

from typing import Any

Message = dict[str, Any]

MAX_FRAME_BYTES = 2**20

NUMBER = (int, float)

KEYS: dict[str, dict[str, Any]] = {
    "welcome": {
        "version": int,
        "server": str,
        "session": str,
        "resume": str,
        "resumed": bool,
        "streams": dict,
        "limits": dict,
        "providers": list,
    },
    "opened": {"stream": int, "provider": str, "model": str, "priority": int, "delivery": str},
    "credit": {"stream": int, "offset": int},
    "partial": {
        "stream": int,
        "id": int,
        "start": float,
        "end": float,
        "text": str,
        "stable": int,
    },
    "segment": {
        "stream": int,
        "id": int,
        "start": float,
        "end": float,
        "text": str,
        "offset": int,
        "provider": str,
        "model": str,
        "latency_ms": NUMBER,
    },
    "ack": {"stream": int, "offset": int},
    "event": {"stream": int, "event": str, "at": float},
    "flushed": {"stream": int, "offset": int},
    "closed": {
        "stream": int,
        "reason": str,
        "offset": int,
        "segments": int,
        "audio_seconds": NUMBER,
        "dropped_seconds": NUMBER,
    },
    "pong": {"id": object},
    "health": {
        "state": str,
        "live": bool,
        "ready": bool,
        "providers": dict,
        "uptime_s": NUMBER,
    },
    "stats": {},
    "error": {"code": str, "message": str, "fatal": bool},
}
"""What each message of the daemon always has."""

CODES = {
    "hello_expected",
    "unsupported_version",
    "frame_too_large",
    "invalid_frame",
    "invalid_message",
    "unknown_type",
    "unknown_stream",
    "stream_exists",
    "too_many_streams",
    "busy",
    "chunk_too_large",
    "rate_limited",
    "unknown_provider",
    "provider_unavailable",
    "provider_failed",
    "queue_timeout",
    "slow_consumer",
    "unauthorized",
    "draining",
    "internal",
}
EVENTS = {"speech_start", "speech_end", "dropped", "gap", "degraded", "restored"}
REASONS = {"client", "cancelled", "idle", "shutdown", "error"}
STATES = {"starting", "warming_up", "ready", "degraded", "unavailable"}


class Breach(AssertionError):
    """The daemon did what the protocol does not allow."""


def require(is_so: bool, text: str, message: object = None) -> None:
    if not is_so:
        raise Breach(f"{text}: {message}" if message is not None else text)


class _Stream:
    """What this client knows of one stream, to hold the next message against."""

    def __init__(self, next_id: int, offset: int) -> None:
        self.next_id = next_id
        self.commit = offset
        self.credit: int | None = 0
        self.last_end = 0.0
        self.segments = 0
        self.stable: tuple[int, str] = (-1, "")
        self.is_closed = False


class Rules:
    """Holds the messages of one connection against the protocol; a breach raises Breach."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}

    def begin(self, stream: int, next_id: int, offset: int) -> None:
        """From here on the stream's next segment bears this id."""
        self._streams[stream] = _Stream(next_id, offset)

    def credit(self, stream: int) -> int:
        """The offset up to which audio may be sent."""
        credit = self._streams[stream].credit
        require(credit is not None, f"stream {stream} is live and has no credit")
        return credit or 0

    def check(self, message: Any) -> None:
        """Raise Breach unless `message` may come now."""
        require(isinstance(message, dict), "a frame is not a map", message)
        kind = message.get("type")
        require(kind in KEYS, "an unknown type", message)
        for key, types in KEYS[kind].items():
            require(key in message, f"{kind} lacks {key}", message)
            if types is not object:
                require(isinstance(message[key], types), f"{kind}.{key} is of no {types}", message)
            if types in (int, NUMBER):
                require(not isinstance(message[key], bool), f"{kind}.{key} is a bool", message)
        check = getattr(self, f"_check_{kind}", None)
        if check is not None:
            check(message)
        if kind != "error" and "stream" in message:
            stream = self._streams.get(message["stream"])
            require(stream is not None, "a message of a stream that nobody opened", message)
            if stream is not None:
                require(not stream.is_closed, "closed was not the stream's last message", message)
                self._follow(stream, message)

    def _check_welcome(self, message: Message) -> None:
        require(message["version"] == 1, "another version", message)
        for stream, offset in message["streams"].items():
            require(type(stream) is int and type(offset) is int, "streams of no numbers", message)
        for name in ("max_frame_bytes", "max_chunk_bytes", "max_streams", "resume_window_s"):
            require(name in message["limits"], f"limits lack {name}", message)
        require(all(isinstance(name, str) for name in message["providers"]), "names", message)

    def _check_event(self, message: Message) -> None:
        require(message["event"] in EVENTS, "an unknown event", message)
        more = {"dropped": ("start", "end", "reason"), "gap": ("start", "end")}
        more |= {"degraded": ("level", "action"), "restored": ("level", "action")}
        for key in more.get(message["event"], ()):
            require(key in message, f"{message['event']} lacks {key}", message)

    def _check_closed(self, message: Message) -> None:
        require(message["reason"] in REASONS, "an unknown reason", message)

    def _check_error(self, message: Message) -> None:
        require(message["code"] in CODES, "an unknown code", message)

    def _check_health(self, message: Message) -> None:
        require(message["state"] in STATES, "an unknown state", message)
        for provider in message["providers"].values():
            for key in ("state", "model", "last_inference_ms", "consecutive_errors", "restarts"):
                require(key in provider, f"a provider's health lacks {key}", message)

    def _follow(self, stream: _Stream, message: Message) -> None:
        kind = message["type"]
        if kind == "opened":
            is_lossless = message["delivery"] == "lossless"
            stream.credit = message.get("credit")
            require((stream.credit is not None) == is_lossless, "credit by delivery", message)
        if kind == "credit":
            require(stream.credit is not None, "credit on a live stream", message)
            require(message["offset"] >= (stream.credit or 0), "credit was lowered", message)
            stream.credit = message["offset"]
        if kind == "segment":
            require(message["id"] == stream.next_id, f"the id is not {stream.next_id}", message)
            require(message["start"] <= message["end"], "a segment ends before it starts", message)
            require(message["start"] >= stream.last_end - 1e-4, "segments overlap", message)
            stream.next_id += 1
            stream.last_end = message["end"]
            stream.segments += 1
        if kind == "partial":
            require(message["id"] == stream.next_id, "a partial of another segment", message)
            require(0 <= message["stable"] <= len(message["text"]), "stable", message)
            number, text = stream.stable
            if number == message["id"]:
                require(message["text"].startswith(text), "stable text changed", message)
            stream.stable = (message["id"], message["text"][: message["stable"]])
        if kind in ("segment", "ack", "flushed", "closed"):
            require(message["offset"] >= stream.commit, "the commit went back", message)
            stream.commit = message["offset"]
        if kind == "closed":
            stream.is_closed = True
