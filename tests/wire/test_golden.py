"""Golden frames, packed without asrd: what they decode to, and what does not decode."""

import struct

import msgpack
import pytest

from asrd.errors import ErrorCode, ProtocolError
from asrd.wire.codec import (
    CLIENT_TYPES,
    SERVER_TYPES,
    decode_client,
    decode_server,
    encode,
)
from asrd.wire.messages import (
    ClientMessage,
    ServerMessage,
)
from wire.golden_messages import MESSAGES
from wire.make_golden import FRAMES, GOLDEN, frame, golden


def decode(name: str, payload: bytes) -> ClientMessage | ServerMessage:
    """By the decoder of the direction that the golden frame's name begins with."""
    view = memoryview(payload)
    return decode_client(view) if name.startswith("client_") else decode_server(view)


def test_every_type_of_both_directions_has_a_golden_frame() -> None:
    expected = {f"client_{tag}" for tag in CLIENT_TYPES} | {f"server_{tag}" for tag in SERVER_TYPES}
    assert {path.stem for path in GOLDEN.glob("*.hex")} == expected
    assert FRAMES.keys() == MESSAGES.keys() == expected


@pytest.mark.parametrize("name", FRAMES)
def test_the_committed_frames_are_what_the_script_writes(name: str) -> None:
    assert golden(name) == frame(FRAMES[name])


@pytest.mark.parametrize("name", FRAMES)
def test_golden_frames_name_every_key_of_their_message(name: str) -> None:
    assert FRAMES[name].keys() == {"type", *type(MESSAGES[name]).__struct_fields__}


@pytest.mark.parametrize("name", FRAMES)
def test_a_golden_frame_decodes_to_its_message(name: str) -> None:
    assert decode(name, golden(name)[4:]) == MESSAGES[name]


@pytest.mark.parametrize("name", FRAMES)
def test_a_message_encodes_to_what_msgpack_reads_as_the_golden_map(name: str) -> None:
    """Read by msgpack alone; the order of the keys is nobody's business."""
    encoded = encode(MESSAGES[name])
    (length,) = struct.unpack(">I", encoded[:4])
    assert length == len(encoded) - 4
    assert msgpack.unpackb(encoded[4:], strict_map_key=False) == FRAMES[name]


@pytest.mark.parametrize("name", FRAMES)
def test_a_golden_frame_cut_anywhere_is_not_well_formed(name: str) -> None:
    payload = golden(name)[4:]
    for end in range(len(payload)):
        with pytest.raises(ProtocolError) as caught:
            decode(name, payload[:end])
        assert caught.value.code is ErrorCode.INVALID_FRAME
        assert caught.value.fatal


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("junk", [b"\x00", b"\xc1", b"\xc0", b"\x80", b"\xff" * 50])
def test_a_golden_frame_with_junk_behind_its_map_is_not_well_formed(name: str, junk: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(name, golden(name)[4:] + junk)
    assert caught.value.code is ErrorCode.INVALID_FRAME
    assert caught.value.fatal
