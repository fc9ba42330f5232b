"""What is measured: times and rates that are there, of both targets."""

from mainbus_broker.cli.bench_ends import NAME, _Answers
from mainbus_broker.cli.bench_measures import Result, measure

from tests.support.bus import Bus


async def test_both_targets_are_measured(address: str) -> None:
    async with Bus(address) as bus:
        _Answers(bus.ipc_main)
        other = await bus.renderer(NAME)
        _Answers(other, senders="renderers")
        results, status = await measure(address, 0.02, 0.001)
    assert [result.target for result in results] == ["main", "renderer"]
    for result in results:
        assert 0 < result.median <= result.p99
        assert result.invokes > 0
        assert result.messages > 0
    assert status["codec"]


def test_programs_get_microseconds() -> None:
    result = Result(target="main", median=0.0001234, p99=0.001, invokes=1000.4, messages=5.6)
    assert result.as_dict() == {
        "target": "main",
        "invoke_median_us": 123.4,
        "invoke_p99_us": 1000.0,
        "invokes_per_second": 1000,
        "messages_per_second": 6,
    }
