"""An object belongs to the thread that made it, and to no fork."""

import os
import threading
import weakref

import pytest
from mainbus.ownership import Owner, owner


def test_its_own_thread_may() -> None:
    Owner("this thing").check()


@pytest.mark.contract("3.13")
def test_another_thread_may_not() -> None:
    ours, errors = owner("this thing"), list[RuntimeError]()

    def use() -> None:
        owner("this thing").check()
        try:
            ours.check()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "this thing" in str(errors[0])
    assert "loop.call_soon_threadsafe" in str(errors[0])
    assert "mainbus.blocking" in str(errors[0])


@pytest.mark.contract("3.13")
def test_a_forked_process_may_not_although_its_thread_has_the_same_identity() -> None:
    ours = owner("this thing")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        # Only what needs no interpreter shutdown: this process has the test runner's state.
        try:
            # What it makes itself is its own.
            owner("this thing").check()
            os.write(writing, b"its own: ")
            ours.check()
            os.write(writing, b"allowed")
        except RuntimeError:
            os.write(writing, b"refused")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"its own: refused"
    os.waitpid(child, 0)
    ours.check()


def test_what_a_thread_makes_has_one_owner_by_name() -> None:
    assert owner("this thing") is owner("this thing") is not owner("that thing")


def test_an_owner_is_not_kept_alive() -> None:
    ours = Owner("this thing")
    kept = weakref.ref(ours)
    del ours
    assert kept() is None


def test_disowned_it_is_nobodys() -> None:
    ours = Owner("this thing")
    ours.disown()
    with pytest.raises(RuntimeError):
        ours.check()
