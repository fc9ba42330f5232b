"""What a route lets go, as the bytes that leave."""

from __future__ import annotations

from mainbus.routes import Route


def leaving(route: Route) -> list[bytes]:
    """Return the packets that may leave now, in order."""
    packets = []
    while (packet := route.next_packet()) is not None:
        packets.append(bytes(packet))
    return packets
