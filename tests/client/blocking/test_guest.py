"""Guests of a blocking renderer, and a blocking renderer as a guest."""

import mainbus.blocking
import pytest
from mainbus import ConnectRefused, LimitExceeded, LocalProtocolError, ObjectDestroyedError
from mainbus_broker import Config, Limits

from tests.support.threads import Box, BrokerThread, in_thread


@pytest.mark.contract("7.8", "3.14", "3.2")
def test_a_guest_and_its_host(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, name="host") as host:
        guest = host.create_guest("viewer")
        assert (guest.id, guest.name, guest.is_destroyed()) == (None, "viewer", False)
        with pytest.raises(LocalProtocolError, match=r"guest\.ready\(\)"):
            guest.send("x")
        with pytest.raises(TimeoutError):
            guest.ready(timeout=0.001)
        ready = in_thread(guest.ready)
        came, left, got, thanks = Box(), Box(), Box(), Box()
        guest.on("ready", came)
        guest.once("destroyed", left)
        guest.on("ipc-message", thanks)
        with mainbus.blocking.connect(broker.address, token=guest.token) as renderer:
            ready()
            came.get()
            assert guest.id == renderer.id
            renderer.on("x", got)
            renderer.on("x", lambda event, value: pytest.fail("the host counts as main"), senders="renderers")
            guest.send("x", 1)
            event, value = got.get()
            assert (event.sender, event.sender_id, event.from_host, value) == (renderer, host.id, True, 1)
            event.reply("thanks", 2)
            (back,) = thanks.get()
            assert (back.channel, back.args, back.sender, back.sender_id) == ("thanks", [2], guest, renderer.id)
            renderer.send_to_host("last")
            with pytest.raises(ConnectRefused):
                mainbus.blocking.connect(broker.address, token=guest.token).open()
        assert thanks.get()[0].channel == "last"
        left.get()
        assert guest.is_destroyed()
        with pytest.raises(ObjectDestroyedError):
            guest.send("x")
        with pytest.raises(ObjectDestroyedError):
            guest.ready()


@pytest.mark.contract("7.8", "3.14")
def test_closing_a_guest_leaves_it_without_a_host(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address) as host:
        guest, never = host.create_guest(), host.create_guest()
        with mainbus.blocking.connect(broker.address, token=guest.token) as renderer:
            guest.ready()
            got = Box()
            guest.on("ipc-message", got)
            guest.off("ipc-message", got)
            waiting = in_thread(never.ready)
            guest.close()
            guest.close()
            never.close()
            with pytest.raises(ObjectDestroyedError):
                waiting()
            # The broker has told the guest by the time that it has answered both.
            host.invoke("echo")
            renderer.invoke("echo")
            with pytest.raises(ObjectDestroyedError, match="host of this renderer has left"):
                renderer.send_to_host("x")


@pytest.mark.contract("7.8")
def test_errors_are_named(address: str) -> None:
    with (
        BrokerThread(address, config=Config(limits=Limits(guests=1))),
        mainbus.blocking.connect(address) as renderer,
    ):
        with pytest.raises(LocalProtocolError, match="this renderer has no host"):
            renderer.send_to_host("x")
        guest = renderer.create_guest()
        with pytest.raises(LimitExceeded, match="number of guests"):
            renderer.create_guest()
        with pytest.raises(ValueError, match="Unknown event"):
            guest.on("x", print)


@pytest.mark.contract("7.8", "3.2")
def test_whom_the_host_lets_go_passes_for_nobody(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, name="host", poll=True) as host:
        guest, got = host.create_guest(), Box()
        host.on("x", got, senders="any")
        guest.on("ipc-message", got)
        with mainbus.blocking.connect(broker.address, token=guest.token) as renderer:
            guest.ready()
            renderer.send_to_host("x", 1)
            # It is in front of this answer, and waits to be run.
            renderer.invoke("echo")
            guest.close()
            last = in_thread(lambda: broker.send("host", "last"))
            host.wait_for("last")
            last()
            assert got.empty
