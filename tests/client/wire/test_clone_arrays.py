"""Typed arrays: item type, size and byte order, with NumPy and without."""

import sys
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire.clone import BadMessage, CloneError, LimitExceeded

from tests.support.clones import CODECS, Codec, head

TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "?"]
CODES = "bBhHiIlLqQfd"


@pytest.mark.contract("4.1")
@pytest.mark.parametrize("code", CODES)
def test_arrays_keep_type_and_size(codec: Codec, code: str) -> None:
    value = array(code, [0, 1, 100])
    arrived = codec.clone([value])[0]
    expected = {("l", 8): "q", ("L", 8): "Q", ("l", 4): "i", ("L", 4): "I"}.get((code, value.itemsize), code)
    assert (type(arrived), arrived.typecode, arrived.itemsize) == (array, expected, value.itemsize)
    assert list(arrived) == [0, 1, 100]
    arrived.append(5)
    assert codec.clone(array(code)) == array(code)


@pytest.mark.contract("4.1")
@given(data=st.binary(max_size=64), code=st.sampled_from(CODES))
def test_arrays_keep_every_bit(data: bytes, code: str) -> None:
    value = array(code)
    value.frombytes(data[: len(data) // value.itemsize * value.itemsize])
    for codec in CODECS:
        assert codec.clone([value])[0].tobytes() == value.tobytes()


@pytest.mark.contract("4.1")
def test_a_subclass_of_array(codec: Codec) -> None:
    arrived = codec.clone(type("Mine", (array,), {})("d", [0.5]))
    assert (type(arrived), arrived.tolist()) == (array, [0.5])


@pytest.mark.contract("4.1")
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 2, 3), (4, 0), (0, 4), (1,) * 32], ids=str)
def test_numpy_arrays(codec: Codec, kind: str, order: str, shape: tuple[int, ...]) -> None:
    value = np.arange(int(np.prod(shape))).reshape(shape).astype(order + kind)
    arrived = codec.clone([value])[0]
    assert (type(arrived), arrived.dtype, arrived.shape) == (np.ndarray, value.dtype, value.shape)
    assert arrived.tobytes() == value.tobytes()
    assert arrived.flags.writeable
    if arrived.size:
        arrived[...] = 0


@pytest.mark.contract("4.1")
def test_numpy_views(codec: Codec, tmp_path: Any) -> None:
    value = np.arange(24, dtype="i4").reshape(4, 6)
    for view in (value.T, value[::2, 1:3], value[::-1], np.asfortranarray(value), value[1:1]):
        arrived = codec.clone(view)
        assert arrived.shape == view.shape
        assert (arrived == view).all()
        assert arrived.flags.c_contiguous
    value.tofile(tmp_path / "x")
    assert (codec.clone(np.memmap(tmp_path / "x", "i4", "r")) == value.ravel()).all()


@pytest.mark.contract("4.5")
@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.array(["a"]), "array of <U1"),
        (np.array([object()]), "array of object"),
        (np.array([1j]), "array of complex128"),
        (np.array(["2026-01-01"], dtype="M8[D]"), r"array of datetime64\[D\]"),
        (np.zeros(2, dtype=[("a", "i4")]), r"array of \[\('a', '<i4'\)\]"),
        (np.ma.masked_array([1, 2]), "MaskedArray"),
        (np.int64(1), "int64"),
        (np.bool_(True), "bool"),
        (np.float32(1), "float32"),
        (np.dtype("i4"), "Int32DType"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_refused(codec: Codec, value: object, says: str) -> None:
    with pytest.raises(CloneError, match=rf"\(args\[0\]: {says}\)"):
        codec.encode([value])


@pytest.mark.contract("4.5")
@pytest.mark.filterwarnings("ignore:The 'u' type code is deprecated:DeprecationWarning")
def test_arrays_of_characters_are_refused(codec: Codec) -> None:
    with pytest.raises(CloneError, match=r"\(args\[0\]: array of 'u'\)"):
        codec.encode([array("u", "a")])


def test_long_doubles_are_refused(codec: Codec) -> None:
    value = np.zeros(1, dtype=np.longdouble)
    if value.itemsize == 8:
        assert codec.clone(value) == value
    else:
        with pytest.raises(CloneError):
            codec.encode(value)


@pytest.mark.contract("4.6")
def test_dimensions_are_bounded(codec: Codec) -> None:
    with pytest.raises(LimitExceeded, match="The number of an array's dimensions exceeds the limit of 32"):
        codec.encode(np.zeros((1,) * 33))
    with pytest.raises(LimitExceeded):
        codec.decode(bytes.fromhex("d82882") + head(4, 33) + b"\x01" * 33 + bytes.fromhex("d8404101"))


@pytest.mark.contract("4.1")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 1, 3), (4, 0), (0, 4)], ids=str)
def test_without_numpy(codec: Codec, monkeypatch: pytest.MonkeyPatch, kind: str, shape: tuple[int, ...]) -> None:
    value = np.arange(int(np.prod(shape))).reshape(shape).astype(">" + kind)
    data = codec.encode([value])
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert codec.decode(data) == [value.tolist()]


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("shape", [(10**6, 0), (2**62, 0), (2**62, 2**62, 0), (70_000, 1, 0)])
def test_empty_rows_are_bounded_without_numpy(
    codec: Codec, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    dimensions = head(4, len(shape)) + b"".join(head(0, length) for length in shape)
    with pytest.raises(LimitExceeded, match="empty rows exceeds the limit of 65536"):
        codec.decode(bytes.fromhex("d82882") + dimensions + bytes.fromhex("d85640"))


@pytest.mark.contract("4.6")
@pytest.mark.parametrize(
    "wire",
    [
        "d8414101",  # half an item
        "d8424300 0000".replace(" ", ""),
        "d8564700000000000000",
        "d850430000 00".replace(" ", ""),
        "d84c4100",  # no such types
        "d8535000000000000000000000000000000000",
        "d8575000000000000000000000000000000000",
        "d8406161",
        "d8408101",
        "d82880",  # dimensions
        "d8288101",
        "d828828102d8404101",
        "d82882820202d8404101",
        "d828828120d8404101",
        "d82882816131d8404101",
        "d82882a0d8404101",
        "d8288280d84040",
        "d82882811bffffffffffffffffd8404101",
        "d828828101 4101".replace(" ", ""),
        "d82882810181f5",
        "d828828101d84c4101",
        "d828828101d82981 01".replace(" ", ""),
        "d828828101d829 41f5".replace(" ", ""),
        "d8298 1f5".replace(" ", ""),
        "d82882821b7fffffffffffffff00d84c40",
        "d82882831b7fffffffffffffff021b7fffffffffffffffd84040",
    ],
)
def test_bytes_that_are_refused(codec: Codec, wire: str) -> None:
    with pytest.raises(BadMessage):
        codec.decode(bytes.fromhex(wire))


@pytest.mark.contract("4.6")
def test_negative_dimensions(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(BadMessage, match="The dimensions of an array do not fit its items"):
        codec.decode(bytes.fromhex("d82882822020d8404101"))


@pytest.mark.contract("4.6")
def test_dimensions_that_numpy_cannot_have(codec: Codec) -> None:
    huge = bytes.fromhex("d82882831b7fffffffffffffff1b7fffffffffffffff00d85640")
    with pytest.raises(BadMessage, match="NumPy cannot make an array of these dimensions"):
        codec.decode(huge)
