from mainbus_broker.peer_core import Load as Load
from mainbus_broker.peer_core import PeerCore as PeerCore
