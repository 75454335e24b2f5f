import asyncio
from collections.abc import Callable

from identity.corking import CORKED_BYTES_MAX, Corked


class Recorded(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def close(self) -> None:
        self.calls.append("close")


def calls_of(act: Callable[[Corked, Recorded], None]) -> list[bytes | str]:
    async def main() -> list[bytes | str]:
        recorded = Recorded()
        act(Corked(recorded, asyncio.get_running_loop()), recorded)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return recorded.calls

    return asyncio.run(main())


def test_what_is_written_in_one_turn_goes_out_in_one_piece_and_in_order():
    def act(transport: Corked, recorded: Recorded) -> None:
        transport.write(b"head ")
        transport.write(b"body")
        assert recorded.calls == []

    assert calls_of(act) == [b"head body"]


def test_more_than_may_be_held_goes_out_at_once_and_what_follows_after_it():
    many = b"x" * CORKED_BYTES_MAX

    def act(transport: Corked, recorded: Recorded) -> None:
        transport.write(b"head ")
        transport.write(many)
        assert recorded.calls == [b"head " + many]
        transport.write(b"end")

    assert calls_of(act) == [b"head " + many, b"end"]


def test_a_connection_is_closed_after_what_was_written():
    def act(transport: Corked, _: Recorded) -> None:
        transport.write(b"last")
        transport.close()

    assert calls_of(act) == [b"last", "close"]
