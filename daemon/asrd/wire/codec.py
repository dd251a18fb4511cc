"""Frames to messages and back.

Decoding is msgpack-python with every size bounded, then `msgspec.convert` into the struct of the
message's type, so that no untyped value gets past this module. Encoding is msgspec's, straight
from the struct.
"""

from typing import Any, TypeVar, get_args

import msgpack
import msgspec

from asrd.errors import ErrorCode, ProtocolError
from asrd.framing import HEADER
from asrd.wire.messages import PROTOCOL_VERSION, ClientMessage, Hello, ServerMessage

M = TypeVar("M")

MAX_FRAME_BYTES = 2**20
MAX_NESTED_ITEMS = 2**13
"""Of one array or map. More than any message's schema allows, so that a map which is merely too
long for its key earns `invalid_message`; little enough that a deep nest of arrays that announce
what never comes costs tens of megabytes and no more."""

_NOT_BASE64 = (bytes,)
"""Tells msgspec that `bytes` travel as themselves: it would else read a string as base64."""

_encoder = msgspec.msgpack.Encoder()


def _by_type(union: object) -> dict[str, type[Any]]:
    return {str(kind.__struct_config__.tag): kind for kind in get_args(union)}


CLIENT_TYPES: dict[str, type[ClientMessage]] = _by_type(ClientMessage)
SERVER_TYPES: dict[str, type[ServerMessage]] = _by_type(ServerMessage)


def encode(message: ClientMessage | ServerMessage) -> bytes:
    """The whole frame of a message, header included."""
    frame = bytearray(HEADER.size)
    _encoder.encode_into(message, frame, HEADER.size)
    HEADER.pack_into(frame, 0, len(frame) - HEADER.size)
    return bytes(frame)


def decode_client(payload: memoryview) -> ClientMessage:
    """The message that a client sent. Raises ProtocolError, fatal where the protocol says so."""
    return _decode(payload, CLIENT_TYPES)


def decode_hello(payload: memoryview) -> Hello:
    """The message that a client begins with. Raises ProtocolError, fatal for any other.

    The version is looked at before the rest, whose shape another version may have changed.
    """
    fields = unpack(payload)
    if fields.get("type") != "hello":
        raise ProtocolError(
            ErrorCode.HELLO_EXPECTED, "the first message of a connection is hello", fatal=True
        )
    version = fields.get("version", PROTOCOL_VERSION)
    if type(version) is int and version != PROTOCOL_VERSION:
        raise ProtocolError(
            ErrorCode.UNSUPPORTED_VERSION,
            f"version {version} was asked for; this daemon speaks {PROTOCOL_VERSION}",
            fatal=True,
        )
    return _to_struct(fields, "hello", Hello)


def decode_server(payload: memoryview) -> ServerMessage:
    """The message that a daemon sent. Raises ProtocolError as `decode_client` does."""
    return _decode(payload, SERVER_TYPES)


def _decode(payload: memoryview, types: dict[str, type[M]]) -> M:
    fields = unpack(payload)
    tag = fields.get("type")
    if not isinstance(tag, str):
        raise _invalid("`type` is missing or not a string", fields)
    kind = types.get(tag)
    if kind is None:
        raise ProtocolError(
            ErrorCode.UNKNOWN_TYPE,
            f"there is no message of type {tag[:64]!r} in this protocol version",
            stream=_stream_of(fields),
        )
    return _to_struct(fields, tag, kind)


def _to_struct(fields: dict[str, Any], tag: str, kind: type[M]) -> M:
    if None in fields.values():  # an optional key may be nil instead of absent
        fields = {key: value for key, value in fields.items() if value is not None}
    try:
        return msgspec.convert(fields, kind, builtin_types=_NOT_BASE64)
    except msgspec.ValidationError as error:
        raise _invalid(f"{tag}: {error}", fields) from None


def unpack(payload: memoryview) -> dict[str, Any]:
    """The map of a sound frame. Raises ProtocolError for any other."""
    try:
        fields = msgpack.unpackb(  # its limits on strings, bins and exts are the payload's own size
            payload,
            strict_map_key=False,  # `have` and `streams` have numbers as keys
            max_array_len=MAX_NESTED_ITEMS,
            max_map_len=MAX_NESTED_ITEMS,
        )
    except Exception as error:  # noqa: BLE001 - hostile bytes raise more than what is documented
        raise _broken(f"the frame is not one well-formed msgpack map ({_said(error)})") from None
    if not isinstance(fields, dict):
        raise _broken("the frame is not a msgpack map")
    for key in fields:
        if not isinstance(key, str):
            raise _broken("the frame is a msgpack map with a key that is no string")
    return fields


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _broken(text: str) -> ProtocolError:
    return ProtocolError(ErrorCode.INVALID_FRAME, text, fatal=True)


def _invalid(text: str, fields: dict[str, Any]) -> ProtocolError:
    return ProtocolError(ErrorCode.INVALID_MESSAGE, text[:500], stream=_stream_of(fields))


def _stream_of(fields: dict[str, Any]) -> int | None:
    stream = fields.get("stream")
    if isinstance(stream, int) and not isinstance(stream, bool) and stream >= 0:
        return stream
    return None
