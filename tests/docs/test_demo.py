"""`make demo`: a real daemon and real renderers, every pattern, and what it prints agrees with the broker's own log."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.tree import ROOT

DEMO = ROOT / "docs" / "examples" / "demo.py"
END = r"(\w+) +id (\d+) pid (\d+)"

MESSAGES = [
    ("editor", "main", 'send      set-title  "report.txt - editor"'),
    ("editor", "main", 'invoke    dialog:open-file  "docs"'),
    ("main", "editor", 'result    dialog:open-file  "docs/report.txt"'),
    ("editor", "main", 'send      menu:click  "increment"'),
    ("main", "editor", "send      update-counter  1"),
    ("editor", "main", "send      counter-value  1"),
    ("editor", "main", "send_sync get-counter"),
    ("main", "editor", "result    get-counter  1"),
    ("editor", "preview", 'send_to   show-text  "four words of text"'),
    ("editor", "preview", "invoke_to count-words"),
    ("preview", "editor", "result    count-words  4"),
]


def run(*arguments: str, demo: Path = DEMO) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(demo), *arguments], capture_output=True, encoding="utf-8", timeout=50)


@pytest.mark.smoke
def test_every_message_flows_between_processes_that_the_brokers_log_knows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run("--log", str(log))
    assert done.returncode == 0, done.stderr
    assert "\033" not in done.stdout

    processes = {name: (int(id), int(pid)) for name, id, pid in re.findall(rf"^  {END} +(?:a|the) ", done.stdout, re.M)}
    assert processes.keys() == {"main", "editor", "preview"}
    assert len({pid for _, pid in processes.values()}) == 3

    messages = re.findall(rf"^  {END} +\S+ {END} +(.*)$", done.stdout, re.M)
    assert [(sender, receiver, what) for sender, _, _, receiver, _, _, what in messages] == MESSAGES
    for sender, sender_id, sender_pid, receiver, receiver_id, receiver_pid, _ in messages:
        assert processes[sender] == (int(sender_id), int(sender_pid))
        assert processes[receiver] == (int(receiver_id), int(receiver_pid))

    (serving,) = [entry for entry in map(json.loads, log.read_text().splitlines()) if "serving" in entry["message"]]
    assert processes["main"] == (0, serving["pid"])
    connected = re.findall(r"renderer (\d+) \((\w+)\) pid (\d+) connected", log.read_text())
    renderers = {name: ends for name, ends in processes.items() if name != "main"}
    assert {name: (int(id), int(pid)) for id, name, pid in connected} == renderers


@pytest.mark.parametrize(
    ("file", "before", "after", "complaint"),
    [
        ("app.py", "event.return_value = counter", "pass", "editor ended with exit code 1"),
        ("app.py", 'ipc_main.handle("dialog:open-file")', 'ipc_main.handle("other")', "editor ended with exit code 1"),
        ("editor.py", '"menu:click", "increment"', '"set-title", "again"', "expected .*menu:click.*, not .*set-title"),
        ("preview.py", "await left.wait()", "raise SystemExit(3)", "preview ended with exit code 3"),
    ],
)
def test_it_fails_when_a_message_does_not_come(
    tmp_path: Path, file: str, before: str, after: str, complaint: str
) -> None:
    folder = tmp_path / "demo_app"
    folder.mkdir()
    for source in (DEMO.parent / "demo_app").glob("*.py"):
        (folder / source.name).write_text(source.read_text())
    broken = (folder / file).read_text()
    assert before in broken
    (folder / file).write_text(broken.replace(before, after))
    demo = tmp_path / "demo.py"
    demo.write_text(DEMO.read_text())

    done = run(demo=demo)
    assert done.returncode == 1
    assert re.search(complaint, done.stderr)


def test_make_demo_runs_every_example_that_needs_no_display() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "$(EXAMPLES)" in makefile.split("\ndemo:")[1].split("\n\n")[0]
    shown = re.search(r"^EXAMPLES := (.*)$", makefile, re.M)
    assert shown is not None
    assert sorted([*shown[1].split(), "tk_window"]) == sorted(path.parent.name for path in DEMO.parent.glob("*/run.py"))
    assert len(shown[1].split()) == 7
