"""Compiled code for packets: what it does is tested with the Python that does the same; here, that it stays inside."""

import pytest
from mainbus.wire import CODEC
from mainbus.wire.header import HEADER, build
from mainbus.wire.packets import Kind

pytestmark = pytest.mark.skipif(CODEC != "compiled", reason="nothing was compiled, or MAINBUS_PURE is set")

if CODEC == "compiled":
    from mainbus.wire import packets_fast


def test_compiled_code_reads_nothing_outside_its_data() -> None:
    whole = build(Kind.SEND, 7, 9, b"body", channel=b"chat")
    head = HEADER.unpack_from(whole)
    for data, at in ((whole[:-1], 0), (whole[:10], 0), (b"", 0), (whole, 1), (whole, -1), (whole, 1 << 40)):
        with pytest.raises(ValueError, match=r"no whole packet"):
            packets_fast.whole(head, data, at)
        with pytest.raises(ValueError, match=r"no whole packet"):
            packets_fast.readdress(data, at, 5, b"")
    with pytest.raises(ValueError, match=r"does not fit"):
        packets_fast.readdress(whole, 0, 5, bytes(256))
    with pytest.raises(ValueError, match=r"place in the data"):
        packets_fast.scan(whole, -1, len(whole), 1, bytes(256), 100)
    with pytest.raises(ValueError, match=r"byte for each kind"):
        packets_fast.scan(whole, 0, len(whole), 1, b"", 100)
    assert packets_fast.scan(whole, 1 << 40, 1 << 50, 1, bytes(256), 100) == []
