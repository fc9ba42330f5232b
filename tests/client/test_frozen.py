"""Frozen dicts and lists: nothing changes them, and everything that knows dicts and lists takes them."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from mainbus.frozen import FrozenDict, FrozenList
from mainbus.wire import clone


def frozen(**members: object) -> FrozenDict:
    made = FrozenDict()
    for key, value in members.items():
        dict.__setitem__(made, key, value)
    return made


def frozen_list(*items: object) -> FrozenList:
    made = FrozenList()
    list.extend(made, items)
    return made


def set_item(value: Any, key: object) -> None:
    value[key] = 1


def delete_item(value: Any, key: object) -> None:
    del value[key]


def update_in_place(value: Any, other: object) -> None:
    value |= other


def add_in_place(value: Any) -> None:
    value += [1]


def multiply_in_place(value: Any) -> None:
    value *= 2


DICT_CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda value: set_item(value, "a"),
    "delete": lambda value: delete_item(value, "a"),
    "in place": lambda value: update_in_place(value, {}),
    "clear": lambda value: value.clear(),
    "pop": lambda value: value.pop("a"),
    "popitem": lambda value: value.popitem(),
    "setdefault": lambda value: value.setdefault("b", 1),
    "update": lambda value: value.update(b=1),
    "init": lambda value: value.__init__({"b": 1}),
}
LIST_CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda value: set_item(value, 0),
    "set slice": lambda value: set_item(value, slice(None)),
    "delete": lambda value: delete_item(value, 0),
    "add": add_in_place,
    "multiply": multiply_in_place,
    "append": lambda value: value.append(1),
    "clear": lambda value: value.clear(),
    "extend": lambda value: value.extend([1]),
    "insert": lambda value: value.insert(0, 1),
    "pop": lambda value: value.pop(),
    "remove": lambda value: value.remove(2),
    "reverse": lambda value: value.reverse(),
    "sort": lambda value: value.sort(),
    "init": lambda value: value.__init__([1]),
}


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("change", DICT_CHANGES.values(), ids=DICT_CHANGES)
def test_no_method_changes_a_dict(change: Callable[[Any], object]) -> None:
    value = frozen(a=1)
    with pytest.raises(TypeError):
        change(value)
    assert value == {"a": 1}


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("change", LIST_CHANGES.values(), ids=LIST_CHANGES)
def test_no_method_changes_a_list(change: Callable[[Any], object]) -> None:
    value = frozen_list(2, 1)
    with pytest.raises(TypeError):
        change(value)
    assert value == [2, 1]


def test_all_that_changes_is_refused() -> None:
    harmless = {"copy", "count", "fromkeys", "get", "index", "items", "keys", "values"}
    for cls, base in ((FrozenDict, dict), (FrozenList, list)):
        public = {name for name in vars(base) if not name.startswith("_")}
        operators = {
            name for name in vars(base) if name in ("__setitem__", "__delitem__", "__ior__", "__iadd__", "__imul__")
        }
        assert (public - harmless) | operators <= set(vars(cls))


@pytest.mark.contract("7.9")
def test_attributes_are_members_and_read_only() -> None:
    value = frozen(a=1)
    assert value.a == 1
    assert not hasattr(value, "b")
    with pytest.raises(AttributeError, match=r"^Cannot assign to read only property 'a'$"):
        value.a = 2
    with pytest.raises(AttributeError, match=r"^Cannot assign to read only property 'b'$"):
        value.b = 2
    with pytest.raises(AttributeError, match=r"^Cannot delete property 'a'$"):
        del value.a
    assert dir(value) == ["a"]


@pytest.mark.contract("7.9")
def test_a_member_hides_the_method_of_its_name() -> None:
    value: Any = frozen(get="mine", items="mine too")
    assert (value.get, value.items, value["get"]) == ("mine", "mine too", "mine")
    assert list(value.keys()) == ["get", "items"]
    assert list(dict.items(value)) == [("get", "mine"), ("items", "mine too")]
    assert dict(value) == {**value} == {"get": "mine", "items": "mine too"}


def test_names_of_pythons_own_are_no_attributes() -> None:
    value = FrozenDict()
    dict.__setitem__(value, "__class__", 1)
    assert value.__class__ is FrozenDict
    assert value["__class__"] == 1


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)), lambda value: value.copy()],
    ids=["copy", "deepcopy", "pickle", "method"],
)
def test_a_copy_can_be_changed(copied: Callable[[Any], Any]) -> None:
    members = copied(frozen(a=1))
    members["b"] = 2
    items = copied(frozen_list(1))
    items.append(2)
    assert (type(members), type(items)) == (dict, list)
    assert (members, items) == ({"a": 1, "b": 2}, [1, 2])


def test_a_deep_copy_keeps_cycles() -> None:
    value = frozen_list()
    list.append(value, frozen(up=value))
    again = copy.deepcopy(value)
    assert type(again) is list
    assert again[0]["up"] is again


def test_others_take_them_for_what_they_are() -> None:
    value = frozen(a=frozen_list(1, None))
    assert json.dumps(value) == '{"a": [1, null]}'
    assert clone.decode(clone.encode([value])) == [{"a": [1, None]}]
    assert repr(value) == "{'a': [1, None]}"
    match value:
        case {"a": [1, _]}:
            pass
        case _:
            pytest.fail("no mapping")
