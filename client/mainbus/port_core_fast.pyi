from mainbus.port_core import EndCore as EndCore
from mainbus.port_core import LinkCore as LinkCore
from mainbus.port_core import RemoteCore as RemoteCore
from mainbus.wire.packets import Taker

class QuickPorts(Taker): ...
