"""`cspine-node users`: accounts and tokens from the command line."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from dicom_node.cli.main import run
from tests.builders.audit_schema import message_in

PASSWORD = "correct horse battery"


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "node.toml"
    file.write_text('[node]\ndata_dir = "var"\n')
    (tmp_path / "password").write_text(f"{PASSWORD}\nand a second line\n")
    return str(file)


@pytest.fixture
def users(config: str, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def command(*arguments: str) -> tuple[int, str, str]:
        status = run(["users", *arguments, "--config", config])
        written = capsys.readouterr()
        return status, written.out, written.err

    return command


def test_an_account_is_added_changed_listed_and_removed(users, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "makes one" in users("list")[1]
    given = ("--password-file", str(tmp_path / "password"))
    assert users("add", "Ann", "--role", "operator", *given) == (0, "ann (operator) may log in\n", "")
    assert users("role", "ann", "admin")[1] == "ann (admin) has to log in again\n"
    assert users("log-out", "Ann")[1] == "ann is logged out; sessions: 0\n"
    assert users("disable", "ann")[0] == users("enable", "ann")[0] == users("passwd", "ann", *given)[0] == 0
    _, out, _ = users("list", "--json")
    assert [(each["name"], each["role"], each["is_disabled"]) for each in json.loads(out)] == [("ann", "admin", False)]
    assert "argon2" not in out
    assert users("remove", "ann")[0] == 0
    assert json.loads(users("list", "--json")[1]) == []


def test_what_is_refused_is_one_line_and_changes_nothing(users, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "short").write_text("short\n")
    (tmp_path / "empty").write_text("\n")
    for status, words, arguments in (
        (1, "at least 12", ("add", "ann", "--password-file", str(tmp_path / "short"))),
        (2, "empty", ("add", "ann", "--password-file", str(tmp_path / "empty"))),
        (2, "--password-file", ("add", "ann")),
        (2, "password-nothing", ("add", "ann", "--password-nothing", PASSWORD)),
        (1, "cannot be an account's name", ("add", "a/b", "--password-file", str(tmp_path / "password"))),
        (1, "no such file", ("add", "ann", "--password-file", str(tmp_path / "none"))),
        (1, "no account 'bob'", ("role", "bob", "viewer")),
        (1, "no token 7", ("token", "remove", "7")),
    ):
        got, out, err = users(*arguments)
        assert (got, out, len(err.splitlines())) == (status, "", 1), err
        assert words in err.lower() or words in err
    assert json.loads(users("list", "--json")[1]) == []


def test_a_token_is_shown_once_and_listed_without_its_secret(users, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    users("add", "robot", "--password-file", str(tmp_path / "password"))
    status, secret, told = users("token", "add", "robot", "--label", "backup", "--days", "30")
    assert (status, secret.startswith("cspine_"), len(secret.split())) == (0, True, 1)
    assert "not shown again" in told
    listed = users("token", "list", "--json")[1]
    assert secret.strip() not in listed
    (token,) = json.loads(listed)
    assert (token["account"], token["role"], token["label"]) == ("robot", "viewer", "backup")
    assert "no token of it can be admin" in users("token", "add", "robot", "--role", "admin")[2]
    assert users("token", "remove", str(token["id"]))[0] == 0
    assert json.loads(users("token", "list", "--json")[1]) == []


def test_every_change_is_in_the_audit_trail_with_who_made_it_and_no_secret(
    users,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SUDO_USER", "eve")
    given = ("--password-file", str(tmp_path / "password"))
    users("add", "Ann", *given)
    users("role", "ann", "admin")
    users("role", "bob", "admin")
    users("passwd", "ann", *given)
    users("disable", "ann")
    users("enable", "ann")
    secret = users("token", "add", "ann", "--role", "viewer")[1].strip()
    users("token", "remove", "1")
    users("log-out", "ann")
    users("list")
    users("remove", "ann")
    trail = (tmp_path / "var" / "audit" / "audit.log").read_text()
    assert PASSWORD not in trail
    assert secret not in trail
    messages = [message_in(line.encode()) for line in trail.splitlines()]
    assert {message.findall("ActiveParticipant")[1].get("UserID") for message in messages} == {"eve"}
    about = [message.find("ParticipantObjectIdentification") for message in messages]
    assert [(each.get("ParticipantObjectID"), _detail(each)) for each in about] == [
        ("ann", "account added, viewer"),
        ("ann", "role changed to admin"),
        ("ann", "password changed by an admin"),
        ("ann", "account disabled"),
        ("ann", "account enabled"),
        ("ann", "token 1 added, viewer"),
        ("token 1", "token 1 removed"),
        ("ann", "sessions ended"),
        ("ann", "account removed"),
    ]


def _detail(thing: Element) -> str:
    found = thing.find("ParticipantObjectDetail")
    assert found is not None
    return base64.b64decode(found.get("value") or "").decode()
