"""The verbs that a blocking renderer and its frames share: to others a frame speaks as its renderer."""

import mainbus.blocking
import pytest
from mainbus.blocking.frame import BlockingFrame
from mainbus.blocking.verbs import BlockingVerbs

from tests.support.threads import Box, BrokerThread


@pytest.mark.contract("7.7", "3.14")
def test_renderer_and_frame_have_the_same_verbs(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address) as renderer, renderer.create_frame("f") as frame:
        assert isinstance(renderer, BlockingVerbs)
        assert isinstance(frame, BlockingVerbs)
        assert frame.invoke("echo", 1) == [1]
        frame.drain()


@pytest.mark.contract("7.7", "3.14", "3.7")
def test_to_others_a_frame_is_its_renderer(broker: BrokerThread) -> None:
    with (
        mainbus.blocking.connect(broker.address, name="a") as renderer,
        mainbus.blocking.connect(broker.address, name="b") as other,
        renderer.create_frame("f") as frame,
        other.create_frame("g") as other_frame,
    ):
        assert isinstance(frame, BlockingFrame)
        got = Box()
        other.on("x", got, senders="renderers")
        other_frame.on("x", lambda event: pytest.fail("no frame of another renderer can be reached"), senders="any")
        other.handle("who", lambda event: [event.sender_id, event.sender_name], senders="renderers")
        frame.send_to("b", "x")
        frame.broadcast("x")
        for _ in range(2):
            (event,) = got.get()
            assert (event.sender, event.sender_id, event.sender_name) == (other, renderer.id, "a")
        assert frame.invoke_to("b", "who") == [renderer.id, "a"]
