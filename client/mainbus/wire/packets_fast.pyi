from mainbus.wire.header import ConnectionCore as ConnectionCore
from mainbus.wire.header import Head, Message
from mainbus.wire.header import Taker as Taker

def build(
    kind: int,
    peer: int = 0,
    request: int = 0,
    body: bytes | memoryview = b"",
    *,
    flags: int = 0,
    frame: int = 0,
    value: int = 0,
    name: bytes = b"",
    channel: bytes = b"",
) -> bytes: ...
def scan(data: bytes, at: int, last: int, count: int, needs: bytes, max_body: int) -> list[tuple[Head, bytes, int]]: ...
def readdress(data: bytes, at: int, peer: int, name: bytes) -> bytes: ...
def whole(head: Head, data: bytes, at: int) -> Message: ...
