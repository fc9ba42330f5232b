"""One order and one credit for each renderer, whatever is sent, by id or by name, whoever has the name by then."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mainbus.outbox import Outbox
from mainbus.route_table import RouteTable
from mainbus.routes import Route
from mainbus.wire.packets import BY_NAME, CONTINUES, HEADER, MAIN, MORE, Kind, build

CREDIT = 2
ADDRESSES: list[int | str] = [5, 6, 7, 8, "five", "six"]
"""The renderers of the start, one that comes later and takes the name of the first, and two names."""


class World:
    """A table with what it leads to, each step of which is taken when the test says so: a broker and renderers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outbox = Outbox(loop, 100)
        self.table = RouteTable(self.outbox)
        self.table.set_credit(CREDIT)
        self.names: dict[int, str | None] = {5: "five", 6: "six", 7: None}
        self.absent = {8}
        """Who was not there at some time."""
        self.told: deque[Callable[[], object]] = deque()
        """What is on its way back."""
        self.held: set[int] = set()
        self.routes: dict[int, Route] = {}
        self.serving: dict[int, list[int]] = defaultdict(list)
        self.got: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.last = 0
        self.outcomes: Counter[int] = Counter()

    # The sender.

    def send(self, target: int | str, is_invoke: bool, is_large: bool) -> None:
        self.last += 1
        kind, request = (Kind.INVOKE, self.last) if is_invoke else (Kind.SEND, 0)
        peer, name, flags = (MAIN, target.encode(), BY_NAME) if isinstance(target, str) else (target, b"", 0)
        parts = (MORE, MORE | CONTINUES, CONTINUES) if is_large else (0,)
        packets = [
            build(kind, peer, request, value=self.last, flags=flags | part, name=name, channel=b"c") for part in parts
        ]
        route = self.table.to(target)
        if is_invoke:
            self.routes[request] = route
        route.put(iter(packets) if is_large else packets[0], 1, request)

    def move(self) -> None:
        for entry, route in self.table.leave_lobby():
            if entry.request and route is not None:
                self.routes[entry.request] = route
            elif route is None:
                packet = entry.first()
                assert packet is not None
                assert HEADER.unpack_from(packet)[5] in self.absent, "only what nobody can get is refused"
                self.outcomes.update([entry.request] if entry.request else [])

    def withdraw(self, request: int) -> None:
        if request in self.routes and not self.outcomes[request] and self.routes[request].withdraw(request):
            self.outcomes[request] += 1

    # What is between them.

    def leave(self, rounds: int) -> None:
        self.arrive(self.outbox.take())
        for _ in range(rounds):
            for route in dict.fromkeys(self.table._routes.values()):
                self.arrive(iter([bytes(packet) for packet in [route.next_packet()] if packet is not None]))

    def hear(self) -> None:
        if self.told:
            self.told.popleft()()

    # The broker and its renderers.

    def arrive(self, packets: list[bytes] | Iterator[bytes]) -> None:
        for packet in packets:
            _, kind, flags, name_length, _, peer, request, _, number = HEADER.unpack_from(packet)
            name = packet[HEADER.size : HEADER.size + name_length].decode()
            if kind == Kind.WHO:
                self.told.append(self.answer(peer))
                continue
            target = next((id for id, other in self.names.items() if name and other == name), 0) if name else peer
            if target not in self.names:
                # At the first of its packets; the rest goes nowhere.
                self.settle(0 if flags & CONTINUES else request)
                continue
            assert target not in self.held, "what goes to somebody who is paused waits"
            self.got[target].append((number, flags & (MORE | CONTINUES)))
            if request and not flags & CONTINUES:
                self.serving[target].append(request)
                assert len(self.serving[target]) <= CREDIT, "no more invokes than the credit allows"

    def answer(self, peer: int) -> Callable[[], object]:
        name, exists = self.names.get(peer), peer in self.names

        def hear() -> None:
            self.table.answered(peer, name, exists=exists)
            self.move()

        return hear

    def settle(self, request: int) -> None:
        def hear() -> None:
            self.outcomes[request] += 1
            self.routes[request].answered()

        if request:
            self.told.append(hear)

    def serve(self, peer: int) -> None:
        if self.serving[peer] and (self.got[peer][-1][1] & MORE) == 0:
            self.settle(self.serving[peer].pop(0))

    def pause(self, peer: int) -> None:
        if peer in self.names and not self.told and peer not in self.held:
            # Heard at once: what was on its way before would count as well.
            self.leave(0)
            self.table.pause(peer, self.names[peer], broadcasts=False)
            self.held.add(peer)

    def resume(self, peer: int) -> None:
        if peer in self.held:
            self.held.discard(peer)
            self.table.resume(peer)

    def speak(self, peer: int) -> None:
        """Send something to the sender, which tells it the name."""
        if peer in self.names:
            name = self.names[peer]
            self.told.append(lambda: self.table.learn(peer, name))

    def pass_on(self) -> None:
        """Let the first one go, and another one take its name."""
        if 5 in self.names:
            self.resume(5)
            del self.names[5]
            self.absent.add(5)
            for request in self.serving.pop(5, []):
                self.settle(request)
            self.names[8] = "five"

    # The end.

    def finish(self) -> None:
        for peer in list(self.held):
            self.resume(peer)
        for _ in range(4 * self.last + 20):
            self.leave(2)
            for peer in list(self.names):
                self.serve(peer)
            while self.told:
                self.hear()


def is_whole(parts: list[tuple[int, int]]) -> bool:
    """Tell whether messages came in the order sent, each in one piece; the last may have been cut off."""
    numbers = [number for number, _ in parts]
    return numbers == sorted(numbers)


steps = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(ADDRESSES), st.booleans(), st.booleans()),
    st.tuples(st.just("leave"), st.integers(0, 3)),
    st.tuples(st.sampled_from(["hear", "hear", "pass_on"])),
    st.tuples(st.sampled_from(["serve", "pause", "resume", "speak"]), st.sampled_from([5, 6, 7, 8])),
    st.tuples(st.just("withdraw"), st.integers(1, 20)),
)


@pytest.mark.contract("2.19", "9.3", "9.1")
@settings(max_examples=200)
@given(st.lists(steps, max_size=60))
def test_a_renderer_gets_everything_in_the_order_sent_and_never_beyond_the_credit(
    taken: list[tuple[object, ...]],
) -> None:
    loop = asyncio.new_event_loop()
    try:
        world = World(loop)
        for name, *arguments in taken:
            getattr(world, str(name))(*arguments)
        world.finish()
        assert all(is_whole(parts) for parts in world.got.values())
        assert {request: world.outcomes[request] for request in world.routes} == dict.fromkeys(world.routes, 1)
        assert world.outbox.held == world.outbox.calls == 0
        assert all(route.idle for route in world.table._routes.values())
        assert world.table._open is world.table._routes
    finally:
        loop.close()
