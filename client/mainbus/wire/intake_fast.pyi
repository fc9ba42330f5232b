from collections.abc import Callable

from mainbus.wire.header import ConnectionCore

class Intake:
    def __init__(
        self,
        wire: ConnectionCore,
        take: Callable[[bytes], object],
        little: Callable[[], object],
        reserved: Callable[[int], object] | None,
        filled: Callable[[], object] | None,
        failed: Callable[[], object],
    ) -> None: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def get_buffer(self, sizehint: int) -> Intake | bytearray: ...
    def buffer_updated(self, nbytes: int) -> None: ...
