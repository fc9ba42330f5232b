"""Waiting for what other threads change."""

import signal
import threading
import time

import pytest
from mainbus.blocking import monitor
from mainbus.blocking.monitor import Monitor

from tests.support.threads import PATIENCE, in_thread


def test_condition_is_asked_again_when_somebody_notifies() -> None:
    shared = Monitor()
    values: list[int] = []
    asked = threading.Semaphore(0)

    def condition() -> bool:
        asked.release()
        return len(values) == 2

    waits = [in_thread(lambda: shared.wait_for(condition)) for _ in range(3)]
    for value in range(2):
        for _ in waits:
            assert asked.acquire(timeout=PATIENCE)
        with shared.lock:
            values.append(value)
            shared.notify()
    assert [wait() for wait in waits] == [True, True, True]
    assert not shared._sleepers


def test_deadline() -> None:
    shared = Monitor()
    assert not shared.wait_for(lambda: False, time.monotonic())
    assert not shared.wait_for(lambda: False, time.monotonic() + 0.01)
    assert shared.wait_for(lambda: True, 0)
    assert not shared._sleepers


def test_signal_right_before_the_wait_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "SLICE", 0.01)
    shared = Monitor()
    woken: list[int] = []

    def handler(*_: object) -> None:
        # Needs what its own thread may hold.
        with shared.lock:
            woken.append(1)
            shared.notify()

    before = signal.signal(signal.SIGINT, handler)
    try:
        main = threading.get_ident()
        sent = in_thread(lambda: signal.pthread_kill(main, signal.SIGINT))
        assert shared.wait_for(lambda: woken)
        sent()
    finally:
        signal.signal(signal.SIGINT, before)


def test_interrupt_leaves_it_in_order() -> None:
    shared = Monitor()
    main = threading.get_ident()

    def ask() -> bool:
        in_thread(lambda: signal.pthread_kill(main, signal.SIGINT))
        return False

    with pytest.raises(KeyboardInterrupt):
        shared.wait_for(ask)
    assert in_thread(lambda: shared.wait_for(lambda: True))()
    shared.notify()
