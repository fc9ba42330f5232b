"""What is compiled is compiled as a whole: the codec, the packets, and what every message passes."""

from mainbus import cores, quick, read_core
from mainbus.wire import CODEC


def test_all_is_compiled_or_nothing() -> None:
    assert (CODEC == "compiled") == quick.COMPILED


def test_the_cores_are_those_in_python_where_nothing_is_compiled() -> None:
    for name in ("CallsCore", "InboxCore", "OutboxCore", "RouteCore", "TargetCore"):
        assert (getattr(quick, name) is getattr(cores, name)) == (not quick.COMPILED)
    assert (quick.ReadCore is read_core.ReadCore) == (not quick.COMPILED)
