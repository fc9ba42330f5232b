from mainbus.arrivals import Arrivals
from mainbus.channels import Channels
from mainbus.renderer import IpcRenderer
from mainbus.wire.packets import Taker

class QuickArrivals(Taker):
    def __init__(self, arrivals: Arrivals, renderer: IpcRenderer, channels: Channels) -> None: ...
