"""D-Bus: a dbus-daemon of its own on a Unix socket, and dbus-fast with plain messages, without proxies.

The dict travels as a{sv}, bytes as ay. One-way messages are calls that want no reply, broadcasts are signals.
"""

from __future__ import annotations

from typing import Any, Final

from common import Order

from peers import programs
from peers.base import AsyncPeer, Client, Peer, Take

CONFIGURATION: Final = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">134217728</limit>
  <limit name="max_completed_connections">100000</limit>
  <limit name="max_incomplete_connections">10000</limit>
  <limit name="max_connections_per_user">100000</limit>
  <limit name="max_match_rules_per_connection">50000</limit>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
"""

INTERFACE: Final = "bench.Peer"
PATH: Final = "/bench"
NAME: Final = "bench.Answer"
BUS: Final = "org.freedesktop.DBus"

PACE: Final = 128
"""Messages between two round trips: dbus-fast closes the connection when the socket's buffer is full."""


class Connection(Client):
    def __init__(self, bus: Any) -> None:
        import dbus_fast
        from dbus_fast.unpack import unpack_variants

        self._bus = bus
        self._fast = dbus_fast
        self._unpack = unpack_variants
        self._sent = 0

    async def call(self, value: Any) -> Any:
        signature, body = self._pack(value)
        message = self._fast.Message(
            destination=NAME, path=PATH, interface=INTERFACE, member="Echo", signature=signature, body=[body]
        )
        reply = await self._bus.call(message)
        if reply.message_type is self._fast.MessageType.ERROR:
            raise RuntimeError(f"{reply.error_name}: {reply.body}")
        return self._value(reply)

    async def answer(self, take: Take) -> None:
        def on_message(message: Any) -> Any:
            if message.interface != INTERFACE:
                return None
            if message.member != "Echo":
                take(self._value(message))
                return True
            signature, body = self._pack(self._value(message))
            return self._fast.Message.new_method_return(message, signature, [body])

        self._bus.add_message_handler(on_message)
        await self._bus.request_name(NAME)

    async def subscribe(self, take: Take) -> None:
        def on_message(message: Any) -> Any:
            if message.interface == INTERFACE:
                take(self._value(message))
                return True
            return None

        self._bus.add_message_handler(on_message)
        await self._ask_bus("AddMatch", f"type='signal',interface='{INTERFACE}'")

    async def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            signature, body = self._pack(value)
            message = self._fast.Message(
                destination=NAME,
                path=PATH,
                interface=INTERFACE,
                member="Push",
                flags=self._fast.MessageFlag.NO_REPLY_EXPECTED,
                signature=signature,
                body=[body],
            )
            await self._send(message)

    async def publish(self, value: Any, count: int) -> None:
        for _ in range(count):
            signature, body = self._pack(value)
            await self._send(self._fast.Message.new_signal(PATH, INTERFACE, "Tick", signature, [body]))

    async def flush(self) -> None:
        await self._ask_bus("GetId")

    def _pack(self, value: Any) -> tuple[str, Any]:
        if type(value) is bytes:
            return "ay", value
        variant = self._fast.Variant
        if not value:
            return "a{sv}", {}
        return "a{sv}", {
            "path": variant("s", value["path"]),
            "n": variant("x", value["n"]),
            "tags": variant("as", value["tags"]),
        }

    def _value(self, message: Any) -> Any:
        body = message.body[0]
        return body if type(body) is bytes else self._unpack(body)

    async def _send(self, message: Any) -> None:
        self._sent += 1
        if self._sent % PACE == 0:
            await self.flush()
        self._bus.send(message)

    async def _ask_bus(self, member: str, *body: str) -> None:
        message = self._fast.Message(
            destination=BUS, path="/org/freedesktop/DBus", interface=BUS, member=member, signature="s" * len(body)
        )
        message.body = list(body)
        await self._bus.call(message)


class DBus(AsyncPeer):
    name = "dbus"
    title = "D-Bus: dbus-daemon, dbus-fast"
    packages = ("dbus_fast",)
    programs = ("dbus-daemon",)
    distributions = ("dbus-fast",)
    workloads = frozenset({"latency", "in-flight", "one-way", "broadcast", "payload", "connect"})

    def broker(self, order: Order) -> None:
        configuration = programs.beside(order.path, "conf")
        configuration.write_text(CONFIGURATION.format(path=order.path))
        command = ["dbus-daemon", "--nofork", "--nopidfile", f"--config-file={configuration}"]
        programs.serve(order, command, lambda: programs.accepts(order.path))

    async def connect(self, order: Order) -> Client:
        from dbus_fast.aio import MessageBus

        return Connection(await MessageBus(bus_address=f"unix:path={order.path}").connect())


PEERS: Final[dict[str, Peer]] = {DBus.name: DBus()}
