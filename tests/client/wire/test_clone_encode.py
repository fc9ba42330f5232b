"""Identity and cycles, paths in errors, depth, and what hostile objects do to the encoder."""

import asyncio
import re
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from mainbus.errors import NoHandlerError, RemoteError
from mainbus.wire import clone_encode
from mainbus.wire.clone import BadMessage, CloneError, LimitExceeded

from tests.support.clones import CODECS, Codec, graphs, same, wire_set

# Identity


@pytest.mark.contract("4.4")
@given(value=graphs())
@settings(deadline=None, max_examples=100)
def test_shared_references_and_cycles_arrive(value: object) -> None:
    for codec in CODECS:
        assert same(codec.clone(value), value)


@pytest.mark.smoke
@pytest.mark.contract("4.4")
@pytest.mark.parametrize("shared", [[], [1], {}, {"a": 1}, set(), {1}], ids=repr)
def test_shared_between_args(codec: Codec, shared: Any) -> None:
    first, second = codec.clone([shared, {"again": shared}])
    assert first is second["again"]
    assert same(first, shared)


@pytest.mark.contract("4.4")
def test_equal_is_not_shared(codec: Codec) -> None:
    one, other = codec.clone([[1], [1]])
    assert one == other
    assert one is not other


@pytest.mark.contract("4.4")
def test_cycles(codec: Codec) -> None:
    node: dict[str, Any] = {"children": []}
    node["children"].append({"parent": node})
    node["self"] = node
    arrived = codec.clone([node])[0]
    assert arrived["self"] is arrived
    assert arrived["children"][0]["parent"] is arrived


@pytest.mark.contract("4.4")
def test_a_cycle_of_the_outermost_list(codec: Codec) -> None:
    args: list[Any] = []
    args.append(args)
    assert codec.encode(args) == b"\xd8\x1c\x81\xd8\x1d\x00"
    arrived = codec.clone(args)
    assert arrived[0] is arrived


@pytest.mark.contract("4.4")
def test_references_are_numbered_in_the_order_of_what_they_mean(codec: Codec) -> None:
    first: list[Any] = ["first"]
    second = ["second"]
    value = [first, second, second, first]
    assert codec.encode(value).hex() == "84d81c81656669727374d81c81667365636f6e64d81d01d81d00"


@pytest.mark.contract("4.4")
def test_tuples_are_copied(codec: Codec) -> None:
    pair = (1, [2])
    one, other = codec.clone([pair, pair])
    assert one == other == [1, [2]]
    assert one is not other
    assert one[1] is other[1]


@pytest.mark.contract("4.4")
def test_frozensets_are_copied(codec: Codec) -> None:
    fixed = frozenset({1})
    one, other = codec.clone([fixed, fixed])
    assert one == other == {1}
    assert one is not other


@pytest.mark.contract("4.4")
def test_sharing_many_times_over_costs_nothing(codec: Codec) -> None:
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    data = codec.encode(value)
    assert len(data) < 1_000
    arrived = codec.decode(data)
    for _ in range(60):
        assert arrived[0] is arrived[1]
        arrived = arrived[0]


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("copied", [tuple, frozenset])
def test_copies_are_bounded(codec: Codec, monkeypatch: pytest.MonkeyPatch, copied: Callable[[Any], Any]) -> None:
    monkeypatch.setattr(clone_encode, "MAX_COPIES", 10_000)
    value = copied([])
    for number in range(60):
        value = copied([value, (value, number)])
    with pytest.raises(LimitExceeded, match="copies of a tuple exceeds the limit of 10000"):
        codec.encode([value])


def test_one_tuple_many_times(codec: Codec) -> None:
    pair = (0, 0)
    assert codec.clone([pair] * 10_000) == [[0, 0]] * 10_000


def test_the_order_of_an_ordered_dict(codec: Codec) -> None:
    value = OrderedDict(a=1, b=2)
    value.move_to_end("a")
    assert list(codec.clone(value)) == ["b", "a"]


# Errors


class Local:
    """A plain object."""


@pytest.mark.contract("4.5")
@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([[], ([{}, {"a_1": Local()}],)], "args[1][0][1].a_1"),
        ([{"": Local()}], "args[0]['']"),
        ([{"a-b": Local()}], "args[0]['a-b']"),
        ([{"größe": Local()}], "args[0].größe"),
        ([{1: 2, 3: Local()}], "args[0][3]"),
        ([{(1, "a"): Local()}], "args[0][(1, 'a')]"),
        ([{None: Local()}], "args[0][None]"),
        ([{"x" * 100: Local()}], f"args[0].{'x' * 100}"),
        ([{"-" * 100: Local()}], f"args[0]['{'-' * 56}...]"),
        ([{10**5000: Local()}], "args[0][int]"),
        ([1, {"a": 1, "b": [2], "c": Local()}], "args[1].c"),
    ],
)
def test_paths(codec: Codec, value: object, path: str) -> None:
    with pytest.raises(CloneError) as caught:
        codec.encode(value)
    assert str(caught.value) == f"An object could not be cloned. ({path}: Local)"
    assert (caught.value.path, caught.value.reason) == (path, "Local")


@pytest.mark.contract("4.5")
def test_paths_of_shared_objects_are_where_they_come_first(codec: Codec) -> None:
    shared = {"bad": Local()}
    with pytest.raises(CloneError, match=re.escape("(args[0].x.bad: Local)")):
        codec.encode([{"x": shared}, shared])


@pytest.mark.contract("4.5")
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (threading.Lock(), "lock"),
        (Local, "type"),
        (sys.stdout.buffer.__class__, "type"),
        (slice(1), "slice"),
        (Ellipsis, "ellipsis"),
        (memoryview(b"")[:0].__class__.cast, "method_descriptor"),
        (type("Node", (), {"__slots__": ()})(), "Node"),
    ],
)
def test_types_are_named(codec: Codec, value: object, name: str) -> None:
    with pytest.raises(CloneError, match=rf"\(args\[0\]: {name}\)"):
        codec.encode([value])


@pytest.mark.contract("4.5")
def test_files_and_sockets(codec: Codec) -> None:
    with socket.socket() as sock, open(__file__, "rb") as file:
        for value in (sock, file):
            with pytest.raises(CloneError, match=rf"\(args\[0\]: {type(value).__name__}\)"):
                codec.encode([value])


@pytest.mark.contract("4.5")
async def test_coroutines_and_tasks() -> None:
    async def work() -> None:
        pass

    coroutine = work()
    task = asyncio.ensure_future(work())
    for codec in CODECS:
        for value in (coroutine, task):
            with pytest.raises(CloneError, match=rf"\(args\[0\]: {type(value).__name__}\)"):
                codec.encode([value])
    await coroutine
    await task


@pytest.mark.contract("4.5")
@pytest.mark.parametrize("key", [Local(), print, (1, Local()), frozenset({Local()}), ValueError()])
def test_what_cannot_be_a_key(codec: Codec, key: Any) -> None:
    for value in ({key: 1}, {key}):
        with pytest.raises(CloneError, match=r"\(args\[0\]\.a: .* as a key or in a set\)"):
            codec.encode([{"a": value}])


@pytest.mark.contract("4.5")
def test_a_bytearray_can_grow_after_an_error(codec: Codec) -> None:
    data = bytearray(10)
    with pytest.raises(CloneError) as caught:
        codec.encode([data, Local()])
    data.append(1)  # while the traceback is still held
    assert caught.value.path == "args[1]"


# Depth


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda value: [value],
    "dict": lambda value: {"a": value},
    "tuple": lambda value: (value,),
}


def nested(kind: str, depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = WRAPPERS[kind](value)
    return value


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
@pytest.mark.parametrize("limit", [1, 2, 63, 64, 65, 512])
def test_depth_is_bounded(codec: Codec, kind: str, limit: int) -> None:
    assert codec.encode(nested(kind, limit), max_depth=limit)
    with pytest.raises(LimitExceeded, match=f"The nesting depth exceeds the limit of {limit}"):
        codec.encode(nested(kind, limit + 1), max_depth=limit)


@pytest.mark.contract("4.6")
def test_depth_of_512_by_default(codec: Codec) -> None:
    assert same(codec.clone(nested("list", 512)), nested("list", 512))
    with pytest.raises(LimitExceeded):
        codec.encode(nested("dict", 513))


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("leaf", [[], {}, set(), frozenset(), (), ValueError("")], ids=repr)
def test_empty_containers_count(codec: Codec, leaf: object) -> None:
    assert codec.decode(codec.encode([leaf], max_depth=2), max_depth=2) is not None
    with pytest.raises(LimitExceeded):
        codec.encode([leaf], max_depth=1)
    with pytest.raises(LimitExceeded):
        codec.decode(codec.encode([leaf]), max_depth=1)


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_no_depth_crashes(codec: Codec, kind: str) -> None:
    with pytest.raises(LimitExceeded):
        codec.encode(nested(kind, 100_000))


@pytest.mark.contract("4.6")
def test_keys_have_depth(codec: Codec) -> None:
    assert codec.clone({nested("tuple", 100): 1}) == {nested("tuple", 100): 1}
    for depth in (512, 5_000):
        with pytest.raises(LimitExceeded):
            codec.encode({nested("tuple", depth)})


@pytest.mark.contract("4.6")
def test_any_stack_is_deep_enough(codec: Codec) -> None:
    value = nested("list", 512)

    def deeper(left: int) -> bytes:
        return deeper(left - 1) if left else codec.encode(codec.decode(codec.encode(value)))

    frame, used = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        used += 1
    assert deeper(sys.getrecursionlimit() - used - 40)


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("left", [20, 40, 80])
def test_nested_keys_on_a_full_stack(codec: Codec, left: int) -> None:
    value = {nested("tuple", 400): 1}
    # Hashing does not recurse in Python's view; comparing does.
    data = wire_set([codec.encode(nested("tuple", 400))] * 2)
    outcomes: list[Exception | None] = []

    def deeper(spare: int) -> None:
        if spare:
            deeper(spare - 1)
            return
        for run in (lambda: codec.encode(value), lambda: codec.decode(data)):
            try:
                run()
            except Exception as error:
                outcomes.append(error)
            else:
                outcomes.append(None)

    frame, used = sys._getframe(), 0
    while frame := frame.f_back:  # type: ignore[assignment]
        used += 1
    deeper(sys.getrecursionlimit() - used - left)
    assert isinstance(outcomes[0], LimitExceeded)
    assert isinstance(outcomes[1], LimitExceeded | BadMessage)


@pytest.mark.contract("4.6")
def test_a_small_stack_is_large_enough() -> None:
    script = """
import threading
from mainbus.wire.clone import decode, encode
def run():
    value = []
    for _ in range(511):
        value = [value]
    decode(encode(value))
threading.stack_size(128 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# Exceptions


@pytest.mark.contract("4.3")
def test_exceptions_arrive_with_their_causes(codec: Codec) -> None:
    error = OSError(2, "gone", "/tmp/x")
    error.__cause__ = LookupError("inner")
    error.add_note("try again")
    arrived = codec.clone([{"error": error}])[0]["error"]
    assert type(arrived) is FileNotFoundError
    assert (arrived.errno, arrived.strerror, arrived.filename) == (2, "gone", "/tmp/x")
    assert type(arrived.__cause__) is LookupError
    assert arrived.__notes__ == ["try again"]


@pytest.mark.contract("4.3")
@pytest.mark.parametrize(
    "error", [NoHandlerError("x"), KeyboardInterrupt(), type("OwnError", (Exception,), {})("text")]
)
def test_other_exceptions_arrive_as_remote_errors(codec: Codec, error: BaseException) -> None:
    (arrived,) = codec.clone([error])
    assert isinstance(arrived, RemoteError)


@pytest.mark.contract("4.3")
def test_exceptions_of_exceptions_end(codec: Codec) -> None:
    error = ValueError("loop")
    error.__cause__ = error
    error.data = [error]  # type: ignore[attr-defined]
    assert type(codec.clone([error])[0]) is ValueError
