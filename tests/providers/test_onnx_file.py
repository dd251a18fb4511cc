"""Weights out of an ONNX file: the real one, small ones made here, and broken ones."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrd.providers.onnx_file import read_weights
from asrd.providers.voice import model_path


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name: str, shape: list[int], raw: bytes, data_type: int = 1) -> bytes:
    dims = b"".join(field(1, each) for each in shape)
    return dims + field(2, data_type) + field(8, name.encode()) + field(9, raw)


def model(*tensors: bytes) -> bytes:
    graph = field(2, b"a name") + b"".join(field(5, each) for each in tensors)
    return field(1, 8) + field(7, graph) + field(2, b"made here")


FLOATS = struct.pack("<6f", *range(6))


def test_a_tensor_has_its_name_shape_and_numbers() -> None:
    weights = read_weights(model(tensor("a/b", [2, 3], FLOATS), tensor("c", [1], FLOATS[:4])))
    assert list(weights) == ["a/b", "c"]
    assert np.array_equal(weights["a/b"], np.arange(6, dtype=np.float32).reshape(2, 3))
    assert weights["a/b"].dtype == np.float32


def test_a_shape_may_be_packed() -> None:
    packed = field(1, varint(2) + varint(3)) + field(2, 1) + field(8, b"a") + field(9, FLOATS)
    assert read_weights(model(packed))["a"].shape == (2, 3)


def test_what_is_no_tensor_of_floats_is_passed_over() -> None:
    fixed = varint(9 << 3 | 5) + b"abcd" + varint(10 << 3 | 1) + b"abcdefgh"
    integers = tensor("i", [1], bytes(8), data_type=7)
    assert list(read_weights(fixed + model(integers, tensor("a", [6], FLOATS)))) == ["a"]


def test_the_real_file_holds_the_weights_of_its_network() -> None:
    weights = read_weights(model_path().read_bytes())
    assert sum(each.size for each in weights.values()) > 300_000
    assert all(np.isfinite(each).all() for each in weights.values())


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 20,  # a number that does not end
        field(7, b"")[:1],  # nothing behind a tag
        varint(7 << 3 | 2) + varint(100) + b"short",
        varint(7 << 3 | 3),  # no such kind of field
        field(7, 5),  # the graph a number
        model(tensor("a", [7], FLOATS)),  # fewer numbers than its shape says
    ],
)
def test_a_broken_file_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_weights(data)


@given(data=st.binary(max_size=200))
def test_any_bytes_give_weights_or_a_value_error(data: bytes) -> None:
    try:
        read_weights(data)
    except ValueError:
        return


@given(at=st.integers(0, 80), byte=st.integers(0, 255))
def test_a_damaged_file_gives_weights_or_a_value_error(at: int, byte: int) -> None:
    data = bytearray(model(tensor("a", [2, 3], FLOATS)))
    data[at % len(data)] = byte
    try:
        read_weights(bytes(data))
    except ValueError:
        return
