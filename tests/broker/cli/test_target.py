"""What `mainbus serve module:attribute` names: found, or said in a line what was found in its place."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mainbus_broker import IpcMain
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.target import load

APP = """
from mainbus_broker import Broker, IpcMain, IpcMainEvent
ipc_main = IpcMain()
class Holder:
    ipc = IpcMain()
    number = 3
    def setup(self, broker): ...
holder = Holder()
async def setup(broker): ...
def optional(broker, extra=None): ...
def nothing(): ...
def two(broker, other): ...
async_lambda = lambda broker: None
def typed(broker: Broker): ...
def texted(broker: "Broker | None"): ...
def unknown(broker: "NoSuchName"): ...
def rest(*brokers): ...
@ipc_main.handle("save")
def save(event, document=None): ...
@ipc_main.on("title")
def title(_event, title): ...
def annotated(e: IpcMainEvent): ...
def counted(count: int): ...
async def lifespan(broker):
    yield
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, which sys.path does not name, and no module of it is left when the test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "an_app.py").write_text(APP)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("text", ["an_app:ipc_main", "an_app:holder.ipc", "an_app:Holder.ipc"])
def test_an_ipc_main_of_the_current_folder(text: str) -> None:
    assert isinstance(load(text), IpcMain)


@pytest.mark.parametrize(
    "name", ["setup", "optional", "holder.setup", "async_lambda", "typed", "texted", "unknown", "rest"]
)
def test_a_function_that_takes_the_broker(name: str) -> None:
    assert callable(load(f"an_app:{name}"))


def test_a_module_in_a_package(folder: Path) -> None:
    (folder / "a_package").mkdir()
    (folder / "a_package" / "app.py").write_text(APP)
    assert isinstance(load("a_package.app:ipc_main"), IpcMain)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected module:attribute, such as app:ipc_main"),
        (" ", "expected module:attribute"),
        (
            "an_app:save",
            "function save takes event, as a listener or handler does, not the broker; expected an IpcMain",
        ),
        ("an_app:title", "function title takes _event, as a listener or handler does"),
        ("an_app:annotated", "IpcMainEvent, as a listener or handler does, not the broker"),
        ("an_app:counted", "function counted takes count: int, as a listener or handler does, not the broker"),
        ("an_app:lifespan", "function lifespan yields, so that calling it does nothing; expected an IpcMain"),
        ("an_app", "expected module:attribute, such as app:ipc_main"),
        ("an_app:", "expected module:attribute"),
        (":ipc_main", "expected module:attribute"),
        ("an_app.py:ipc_main", "or on sys.path; did you mean an_app:ipc_main?"),
        ("./an_app:ipc_main", "expected module:attribute"),
        ("an_ap:ipc_main", "no module 'an_ap' in"),
        ("an_app.x:ipc_main", "no module 'an_app.x' in"),
        ("an_app:ipc", "module an_app has no attribute 'ipc'; it has ipc_main, setup"),
        ("an_app:holder.ipc_main", "a Holder has no attribute 'ipc_main'; it has"),
        ("an_app:holder.number", "it is an int; expected an IpcMain or a function setup(broker)"),
        ("an_app:IpcMain", "it is the class IpcMain; expected"),
        ("an_app:nothing", "function nothing takes no argument, expected setup(broker)"),
        ("an_app:two", "function two cannot be called with the broker: missing a required argument: 'other'"),
        ("json:dumps.__doc__", "it is a str"),
        ("json:nothing", "it has no IpcMain and no function named setup"),
    ],
)
def test_what_is_no_target_is_said(text: str, reason: str) -> None:
    with pytest.raises(Failure) as caught:
        load(text)
    assert str(caught.value).startswith(f"cannot serve {text!r}: ")
    assert reason in str(caught.value)
    assert caught.value.code == ExitCode.TARGET


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("def f():\n    raise LookupError('why')\nf()", "LookupError: why"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
        ("x = (", "SyntaxError"),
    ],
)
def test_a_module_that_raises_shows_where(
    source: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken_app.py").write_text(source)
    with pytest.raises(Failure, match="importing broken_app raised") as caught:
        load("broken_app:ipc_main")
    assert said in str(caught.value)
    assert caught.value.code == ExitCode.TARGET
    trace = capsys.readouterr().err
    assert said in trace
    assert "broken_app.py" in trace
    assert "importlib" not in trace
