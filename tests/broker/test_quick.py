"""What is compiled in the broker is compiled together with all the rest."""

from mainbus.quick import COMPILED
from mainbus_broker import peer_core, quick


def test_the_cores_are_those_in_python_where_nothing_is_compiled() -> None:
    for name in ("Load", "PeerCore"):
        assert (getattr(quick, name) is getattr(peer_core, name)) == (not COMPILED)
