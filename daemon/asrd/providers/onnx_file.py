"""The weights in an ONNX file, by name, without the packages that run or edit such files.

An ONNX file is one protobuf message. Of it only the tensors of 32-bit floats are read that stand
in the graph as its initial values; everything else is passed over by its length.

Format: https://protobuf.dev/programming-guides/encoding/ and onnx.proto.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[np.float32]]

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_GRAPH = 7  # of the model
_INITIAL_VALUE = 5  # of the graph
_DIMENSIONS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # of a tensor
_FLOAT = 1


def read_weights(data: bytes) -> Weights:
    """Every initial value of the graph that is a tensor of 32-bit floats.

    Raises:
        ValueError: the bytes are no ONNX file, or not a whole one.
    """
    weights = {}
    for number, graph in _fields(memoryview(data)):
        if number == _GRAPH:
            for part, value in _fields(_message(graph)):
                if part == _INITIAL_VALUE:
                    weights.update(_tensor(_message(value)))
    return weights


def _tensor(data: memoryview) -> Weights:
    name, shape, data_type, raw = "", [], 0, memoryview(b"")
    for number, value in _fields(data):
        if number == _DIMENSIONS:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif number == _DATA_TYPE and isinstance(value, int):
            data_type = value
        elif number == _NAME:
            name = str(_message(value), "utf-8")
        elif number == _RAW_DATA:
            raw = _message(value)
    if data_type != _FLOAT or not raw:
        return {}
    return {name: np.frombuffer(raw, "<f4").astype(np.float32).reshape(shape)}


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field of a message: its number and its value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
            size = 4 if kind == _FOUR_BYTES else 8
        else:
            raise ValueError(f"protobuf knows no field of kind {kind}")
        if at + size > len(data):
            raise ValueError("the file ends within a field")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number has no end")


def _packed(data: memoryview) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message is expected")
    return value
