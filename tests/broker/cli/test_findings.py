"""What the doctor finds: a level, a topic, a text, a remedy."""

from mainbus_broker.cli.findings import Level, hint, ok, wrong


def test_a_finding_is_a_line() -> None:
    assert str(ok("loop", "uvloop")) == "uvloop"
    assert str(hint("loop", "asyncio", "`pip install uvloop`")) == "asyncio; `pip install uvloop`"
    assert [one.level for one in (ok("a", "b"), hint("a", "b", "c"), wrong("a", "b", "c"))] == list(Level)
