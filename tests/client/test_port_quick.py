"""What every message on a port passes is compiled where all the rest is."""

from mainbus import port_core, port_quick
from mainbus.quick import COMPILED


def test_the_cores_are_those_in_python_where_nothing_is_compiled() -> None:
    for name in ("EndCore", "LinkCore", "RemoteCore"):
        assert (getattr(port_quick, name) is getattr(port_core, name)) == (not COMPILED)


def test_nobody_takes_messages_at_once_where_nothing_is_compiled() -> None:
    assert (port_quick.TAKER is not None) == COMPILED
