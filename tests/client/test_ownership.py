"""An object belongs to the thread that made it, and to no fork."""

import os
import threading
import weakref

import pytest
from mainbus.ownership import Owner


def test_its_own_thread_may() -> None:
    Owner("this thing").check()


@pytest.mark.contract("3.13")
def test_another_thread_may_not() -> None:
    owner, errors = Owner("this thing"), list[RuntimeError]()

    def use() -> None:
        try:
            owner.check()
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
    owner = Owner("this thing")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        # Only what needs no interpreter shutdown: this process has the test runner's state.
        try:
            owner.check()
            os.write(writing, b"allowed")
        except RuntimeError:
            os.write(writing, b"refused")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"refused"
    os.waitpid(child, 0)
    owner.check()


def test_an_owner_is_not_kept_alive() -> None:
    owner = Owner("this thing")
    kept = weakref.ref(owner)
    del owner
    assert kept() is None


def test_disowned_it_is_nobodys() -> None:
    owner = Owner("this thing")
    owner.disown()
    with pytest.raises(RuntimeError):
        owner.check()
