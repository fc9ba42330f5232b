"""Roles from code and from TOML, with what is wrong named, and no token ever shown."""

import dataclasses
import hashlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mainbus.errors import ConfigError
from mainbus_broker import Config, Match, Role

pytestmark = pytest.mark.contract("8.4")

DOCS = Path(__file__).parents[2] / "docs"
SECRET = "5ecret-of-the-plugin"
ADDRESS = "unix:/run/app/plugins.sock" if sys.platform != "win32" else "pipe:plugins"

ROLES = f"""
[roles.plugin]
match = {{ uid = 1001, address = "{ADDRESS}" }}
names = ["plugin-*"]
invoke = ["dialog:*", "editor:open"]
deny = {{ invoke = ["dialog:delete-*"] }}

[roles.tool]
match = [{{ token = "{SECRET}" }}, {{ uid = 0 }}]
monitor = ["*"]

[roles.everybody]
match = {{}}

[roles.started]
handle = ["work"]
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_has_roles_in_their_order(tmp_path: Path) -> None:
    roles = Config.from_toml(written(tmp_path / "x.toml", ROLES)).roles
    assert list(roles) == ["plugin", "tool", "everybody", "started"]
    assert roles["plugin"] == Role(
        match=[Match(uid=1001, address=ADDRESS)],
        names=["plugin-*"],
        invoke=["dialog:*", "editor:open"],
        deny={"invoke": ["dialog:delete-*"]},
    )
    assert roles["tool"].matches == [Match(token=SECRET), Match(uid=0)]
    assert roles["everybody"].matches == [Match()]
    assert roles["started"].matches == ()
    assert Config().roles == {}


def test_a_token_can_stand_as_its_digest() -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert Match(token=f"sha256:{digest}").digest == Match(token=SECRET).digest == bytes.fromhex(digest)
    assert Match().digest is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("roles = 1", "roles: expected tables, [roles.<name>]"),
        ("roles.x = 1", "roles.x: expected a table, [roles.x]"),
        ("[role.x]", "role: unknown key; did you mean roles?"),
        ('[roles.""]', "roles.: a role's name has 1 to 64 printable characters"),
        ('[roles.x]\nsned = ["a"]', "roles.x.sned: unknown key; did you mean send?"),
        ("[roles.x]\nzzz = 1", "roles.x.zzz: unknown key; known are match, names, send, invoke, handle,"),
        ('[roles.x]\nsend = "a"', "roles.x.send: expected an array of globs, such as [\"editor:*\"], but found 'a'"),
        ("[roles.x]\nnames = [1]", "roles.x.names: expected an array of globs"),
        ('[roles.x]\nlisten = [""]', "roles.x.listen: expected an array of globs"),
        ("[roles.x]\ndeny = 1", 'roles.x.deny: expected a table, such as { send = ["secret:*"] }'),
        ('[roles.x]\ndeny = { sned = ["a"] }', "roles.x.deny.sned: unknown key; did you mean"),
        ("[roles.x]\ndeny = { send = 1 }", "roles.x.deny.send: expected an array of globs"),
        ("[roles.x]\nmatch = 1", "roles.x.match: expected a table, such as { uid = 1001 }, or an array of them"),
        ("[roles.x]\nmatch = [1]", "roles.x.match: expected a table, such as { uid = 1001 }, or an array of them"),
        ("[roles.x]\nmatch = { user = 1 }", "roles.x.match.user: unknown key; known are uid, token, address"),
        ("[roles.x]\nmatch = { uid = -1 }", "roles.x.match.uid: expected a user ID, a whole number from 0"),
        ("[roles.x]\nmatch = { uid = true }", "roles.x.match.uid: expected a user ID"),
        ("[roles.x]\nmatch = { uid = 'root' }", "roles.x.match.uid: expected a user ID"),
        ("[roles.x]\nmatch = { address = '/run/x' }", "roles.x.match.address: an address starts with its scheme"),
        ("[roles.x]\nmatch = { address = 1 }", "roles.x.match.address: an address starts with its scheme"),
        ("[roles.x]\nmatch = { token = '' }", "roles.x.match.token: expected a text that is not empty"),
        ("[roles.x]\nmatch = { token = 'sha256:12' }", "roles.x.match.token: expected 64 hexadecimal digits behind"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text: str, reason: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.toml", text)
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(path)
    assert f"{path}: {reason}" in str(caught.value)


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "x.toml", "zzz = 1\n[roles.a]\nsend = 1\nmatch = { uid = -1, x = 1 }\n[roles.b]\ny = 1")
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(path)
    named = [line.removeprefix(f"{path}: ").split(":")[0] for line in str(caught.value).splitlines()]
    assert named == ["zzz", "roles.a.match.x", "roles.a.match.uid", "roles.a.send", "roles.b.y"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Config(roles=[]), "roles: expected a mapping of names to roles, but found list"),  # type: ignore[arg-type]
        (lambda: Config(roles={"x": {}}), "roles.x: expected a Role, but found dict"),  # type: ignore[dict-item]
        (lambda: Config(roles={"a\nb": Role()}), "a role's name has 1 to 64 printable characters"),
        (lambda: Role(match={"uid": 1}), "match: expected a Match, or a list of them"),  # type: ignore[arg-type]
        (lambda: Role(send="x"), "send: expected an array of globs"),
        (lambda: Match(uid=1.5), "uid: expected a user ID"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_in_code_is_named(make: Any, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert reason in str(caught.value)


def test_no_token_is_ever_shown(tmp_path: Path) -> None:
    roles = Config.from_toml(written(tmp_path / "x.toml", ROLES)).roles
    assert SECRET not in repr(roles)
    for wrong in (f'token = ["{SECRET}"]', f'token = "sha256:{SECRET}"', f'token = {{ a = "{SECRET}" }}'):
        path = written(tmp_path / "y.toml", f"[roles.x]\nmatch = {{ {wrong} }}\n")
        with pytest.raises(ConfigError) as caught:
            Config.from_toml(path)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("cls", [Role, Match])
def test_every_key_is_explained_in_the_reference(cls: type) -> None:
    explained = re.findall(r"^    (\w+): (.*)$", inspect.cleandoc(cls.__doc__ or "").split("Raises:")[0], re.MULTILINE)
    assert [key for key, _ in explained] == [item.name for item in dataclasses.fields(cls)]
    page = (DOCS / "reference/configuration.md").read_text(encoding="utf-8")
    for key, text in explained:
        assert f"\n| `{key}` | {text} |\n" in page


def test_the_role_in_the_example_is_one(tmp_path: Path) -> None:
    text = (DOCS / "examples/mainbus.toml").read_text(encoding="utf-8")
    role = text[text.index("# [roles.") :].replace("\n# ", "\n").removeprefix("# ")
    assert list(Config.from_toml(written(tmp_path / "x.toml", role)).roles) == ["plugin"]
