from collections.abc import Iterator, Sequence

class Pieces:
    parts: Sequence[bytes | memoryview]
    def __init__(self, parts: Sequence[bytes | memoryview]) -> None: ...
    def __len__(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    def __radd__(self, front: bytes) -> Pieces: ...

def fragments(
    kind: int,
    peer: int,
    request: int,
    body: bytes | Pieces,
    *,
    flags: int = 0,
    frame: int = 0,
    value: int = 0,
    name: bytes = b"",
    channel: bytes = b"",
) -> Iterator[bytes | Pieces]: ...
