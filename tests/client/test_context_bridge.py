"""expose_in_main_world and main_world: keys, reading, a second expose, threads."""

import inspect
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mainbus
import pytest
from mainbus import CloneError, context_bridge, main_world
from mainbus.context_bridge import MainWorld

TAKEN = "Cannot bind an API on top of an existing property on the window object"


@pytest.fixture(autouse=True)
def empty_world() -> Iterator[None]:
    before = dict(vars(main_world))
    vars(main_world).clear()
    yield
    vars(main_world).clear()
    vars(main_world).update(before)


@dataclass
class Api:
    version: str
    add: Any


@pytest.mark.contract("7.9")
@pytest.mark.parametrize(
    "api",
    [
        {"version": "1.0", "add": lambda a, b: a + b},
        SimpleNamespace(version="1.0", add=lambda a, b: a + b),
        Api("1.0", lambda a, b: a + b),
    ],
    ids=["dict", "namespace", "dataclass"],
)
def test_an_api_is_read_by_its_key_with_members_as_attributes(api: object) -> None:
    context_bridge.expose_in_main_world("app", api)
    assert main_world.app.version == "1.0"
    assert main_world.app.add(1, b=2) == 3
    assert dir(main_world.app) == ["add", "version"]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("api", ["1.0", None, 0, [1], lambda: 1])
def test_an_api_may_be_one_value(api: object) -> None:
    context_bridge.expose_in_main_world("app", api)
    assert main_world.app() == 1 if callable(api) else main_world.app == api


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("first", [{"a": 1}, None, 0])
def test_a_second_expose_of_a_key_raises_electrons_text(first: object) -> None:
    context_bridge.expose_in_main_world("app", first)
    with pytest.raises(ValueError) as caught:
        context_bridge.expose_in_main_world("app", {"a": 2})
    assert str(caught.value) == TAKEN
    assert main_world.app == first


@pytest.mark.contract("7.9")
def test_the_same_api_may_have_two_keys() -> None:
    api = {"a": [1]}
    context_bridge.expose_in_main_world("one", api)
    context_bridge.expose_in_main_world("two", api)
    assert main_world.one == main_world.two
    assert dir(main_world) == ["one", "two"]


@pytest.mark.parametrize("key", ["__class__", "__dict__", "__setattr__", "__doc__"])
def test_what_the_world_has_itself_is_taken(key: str) -> None:
    with pytest.raises(ValueError) as caught:
        context_bridge.expose_in_main_world(key, 1)
    assert str(caught.value) == TAKEN


@pytest.mark.parametrize("key", ["", "a b", "1a", "a.b", "class", "None"])
def test_a_key_is_an_identifier(key: str) -> None:
    with pytest.raises(ValueError) as caught:
        context_bridge.expose_in_main_world(key, 1)
    assert str(caught.value) == f"The key {key!r} cannot be an attribute of main_world"


@pytest.mark.parametrize("key", [None, 1, b"app"])
def test_a_key_is_text(key: Any) -> None:
    with pytest.raises(TypeError) as caught:
        context_bridge.expose_in_main_world(key, 1)
    assert str(caught.value) == f"Expected the key to be a string, but found type '{type(key).__name__}'"


@pytest.mark.contract("7.9")
def test_an_unknown_key_is_an_attribute_error_that_names_the_known_ones() -> None:
    with pytest.raises(AttributeError) as caught:
        _ = main_world.app
    assert str(caught.value) == "The main world has no 'app'; nothing has been exposed yet"
    context_bridge.expose_in_main_world("fs", {})
    context_bridge.expose_in_main_world("editor", {})
    with pytest.raises(AttributeError) as caught:
        _ = main_world.app
    assert str(caught.value) == "The main world has no 'app'; there are: editor, fs"
    assert (caught.value.name, caught.value.obj) == ("app", main_world)
    assert not hasattr(main_world, "app")
    assert getattr(main_world, "app", 1) == 1


@pytest.mark.contract("7.9")
def test_dir_lists_the_keys() -> None:
    assert dir(main_world) == []
    context_bridge.expose_in_main_world("fs", {})
    context_bridge.expose_in_main_world("app", {})
    assert dir(main_world) == ["app", "fs"]


@pytest.mark.contract("7.9")
def test_the_world_is_read_only() -> None:
    context_bridge.expose_in_main_world("app", {"a": 1})
    with pytest.raises(AttributeError, match=r"^Cannot assign to read only property 'app'$"):
        main_world.app = 1
    with pytest.raises(AttributeError, match=r"^Cannot assign to read only property 'more'$"):
        main_world.more = 1
    with pytest.raises(AttributeError, match=r"^Cannot delete property 'app'$"):
        del main_world.app
    assert main_world.app == {"a": 1}


@pytest.mark.contract("7.9")
def test_an_api_that_cannot_cross_leaves_the_key_free() -> None:
    with pytest.raises(CloneError) as caught:
        context_bridge.expose_in_main_world("app", {"parts": [1, {"lock": threading.Lock()}]})
    assert str(caught.value) == "An object could not be cloned. (app.parts[1].lock: lock)"
    assert dir(main_world) == []
    context_bridge.expose_in_main_world("app", 1)


def test_of_many_threads_one_exposes() -> None:
    threads = 8
    start = threading.Barrier(threads)
    outcomes: list[str] = []

    def expose(number: int) -> None:
        start.wait()
        try:
            context_bridge.expose_in_main_world("app", {"number": number})
        except ValueError as error:
            outcomes.append(str(error))
        else:
            outcomes.append(f"exposed {number}")

    workers = [threading.Thread(target=expose, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(outcomes) == [TAKEN] * (threads - 1) + [f"exposed {main_world.app.number}"]


def test_an_api_whose_property_exposes_something_does_not_block() -> None:
    @dataclass
    class Greedy:
        part: int

        def __getattribute__(self, name: str) -> Any:
            if name == "part":
                context_bridge.expose_in_main_world("app", "first")
            return super().__getattribute__(name)

    with pytest.raises(ValueError, match=TAKEN):
        context_bridge.expose_in_main_world("app", Greedy(1))
    assert main_world.app == "first"


@pytest.mark.contract("7.9")
def test_it_says_that_it_is_no_sandbox() -> None:
    for documented in (context_bridge, context_bridge.expose_in_main_world):
        assert "no sandbox" in inspect.cleandoc(documented.__doc__ or "")


def test_both_names_are_the_packages_own() -> None:
    assert mainbus.context_bridge is context_bridge
    assert isinstance(mainbus.main_world, MainWorld)
    assert mainbus.main_world is context_bridge.main_world
