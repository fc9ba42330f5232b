"""The queue of what waits for listeners: in order, bounded, and readable for whoever polls."""

import selectors
import threading
import time

import pytest
from mainbus.blocking.work import HIGH, LOW, Job, Work
from mainbus.errors import LocalProtocolError, ObjectDestroyedError

from tests.support.threads import PATIENCE, Box, in_thread


def polled() -> Work:
    work = Work(polled=True)
    work.start()
    return work


def readable(work: Work) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(work.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))


def close(work: Work) -> None:
    work.close()
    work.join()


def test_jobs_wait_for_the_start_and_run_in_order() -> None:
    work, seen = Work(polled=False), Box()
    for number in range(3):
        work.put(Job(lambda number=number: seen(None, number)))  # type: ignore[misc]
    assert (len(work), seen.empty) == (3, True)
    work.start()
    assert seen.args(3) == [0, 1, 2]
    assert seen.threads == {"mainbus listeners"}
    close(work)


def test_sender_pauses_above_the_mark_and_goes_on_below_the_other() -> None:
    work = polled()
    resumed: list[int] = []
    size = LOW // 2
    count = HIGH // size
    paused = [work.put(Job(lambda: None, 7, size, resumed.append)) for _ in range(count + 3)]
    assert paused == [False] * count + [True, False, False]
    assert not work.put(Job(lambda: None, 8, size, resumed.append))
    work.hold()
    assert work.poll(0) == 0
    work.release()
    left = count + 3
    while not resumed:
        assert work._run_next()
        left -= 1
    assert (resumed, left) == ([7], 1)
    assert work.poll(0) == 2
    assert resumed == [7]
    close(work)


def test_descriptor_follows_the_queue() -> None:
    work = polled()
    assert not readable(work)
    work.put(Job(lambda: None))
    work.put(Job(lambda: None))
    assert readable(work)
    work._run_next()
    assert readable(work)
    work.hold()
    assert not readable(work)
    work.release()
    assert readable(work)
    work.poll(0)
    assert not readable(work)
    close(work)
    with pytest.raises(ObjectDestroyedError):
        work.fileno()


def test_what_came_before_the_start_makes_it_readable() -> None:
    work = Work(polled=True)
    work.put(Job(lambda: None))
    work.start()
    assert readable(work)
    close(work)


def test_only_one_thread_polls() -> None:
    work = polled()
    with pytest.raises(LocalProtocolError):
        in_thread(lambda: work.poll(0))()
    close(work)
    with pytest.raises(ObjectDestroyedError):
        work.poll(0)


def test_waiting_has_a_deadline() -> None:
    work = polled()
    assert not work.run_until(lambda: False, time.monotonic())
    assert work.run_until(lambda: True, time.monotonic())
    close(work)


def test_running_thread_goes_on_while_it_waits_and_others_do_not() -> None:
    work, ran = polled(), Box()
    come: list[int] = []

    def note() -> None:
        ran(None, 1)
        come.append(1)
        work.notify()

    other = in_thread(lambda: work.run_until(lambda: come))
    work.put(Job(note))
    assert work.run_until(lambda: come)
    assert other()
    assert ran.threads == {threading.current_thread().name}
    close(work)


def test_end_is_over_when_all_was_run() -> None:
    work, over = polled(), Box()
    work.put(Job(lambda: over(None, work.is_over)))
    assert not work.is_over
    work.end()
    assert not work.is_over
    assert work.poll(None) == 1
    # Within the last job nothing more comes: whoever waited there would wait for itself.
    assert over.args(1) == [True]
    assert work.is_over
    assert work.poll(None) == 0
    close(work)


def test_end_is_not_over_while_another_thread_runs_the_last() -> None:
    work, called, go_on = Work(polled=False), threading.Event(), threading.Event()

    def last() -> None:
        called.set()
        assert go_on.wait(PATIENCE)

    work.put(Job(last))
    work.end()
    work.start()
    assert called.wait(PATIENCE)
    assert not work.is_over
    waiting = in_thread(lambda: work.run_until(lambda: work.is_over))
    go_on.set()
    assert waiting()
    close(work)


def test_close_drops_what_waits_and_wakes_who_waits() -> None:
    work, ran = Work(polled=False), Box()
    waiting = in_thread(lambda: work.run_until(lambda: False))
    work.put(Job(lambda: ran(None, 1)))
    close(work)
    with pytest.raises(ObjectDestroyedError):
        waiting()
    assert not work.put(Job(lambda: None))
    assert len(work) == 0
    assert ran.empty
    close(work)


def test_job_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mainbus.blocking.work.JOIN_TIMEOUT", 0.01)
    work, called, go_on, ended = Work(polled=False), threading.Event(), threading.Event(), Box()

    def slow() -> None:
        called.set()
        assert go_on.wait(PATIENCE)
        ended(None, 1)

    work.put(Job(slow))
    work.start()
    assert called.wait(PATIENCE)
    close(work)
    assert "a listener still runs 0.01 s after its renderer was closed" in caplog.text
    go_on.set()
    assert ended.args(1) == [1]


def test_thread_survives_what_a_job_raises(caplog: pytest.LogCaptureFixture) -> None:
    def leave() -> None:
        raise SystemExit

    work, ran = Work(polled=False), Box()
    work.put(Job(leave))
    work.put(Job(lambda: ran(None, 1)))
    work.start()
    assert ran.args(1) == [1]
    assert "SystemExit" in caplog.text
    close(work)
