from mainbus.wire.packets import Taker

from mainbus_broker.hub import Hub

class QuickRouter(Taker):
    def __init__(self, hub: Hub) -> None: ...
