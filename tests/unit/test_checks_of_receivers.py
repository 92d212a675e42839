"""`cspine-node check`: a webhook without its secret and a listener that is away are red."""

import socket

from config.receivers import Hl7Settings, NotifySettings, WebhookSettings
from config.settings import Settings
from dicom_node.bootstrap.checks import notified


def settings(**notify: object) -> Settings:
    return Settings(notify=NotifySettings(**notify))  # type: ignore[arg-type]


def test_nothing_is_checked_where_nobody_is_told():
    assert notified(Settings()) == []


def test_a_listener_that_takes_connections_is_fine_and_one_that_is_away_is_red():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (check,) = notified(settings(hl7=Hl7Settings(enabled=True, port=port)))
        assert (check.name, check.ok) == ("notify hl7", True)
    (check,) = notified(settings(hl7=Hl7Settings(enabled=True, port=port, timeout_s=1.0)))
    assert not check.ok
    assert f"127.0.0.1:{port}" in check.detail


def test_a_webhook_without_its_secret_is_red_and_the_secret_is_not_shown(monkeypatch):
    webhook = WebhookSettings(enabled=True, url="https://er.example/x", secret_env="WEBHOOK_TEST_SECRET")
    monkeypatch.delenv("WEBHOOK_TEST_SECRET", raising=False)
    assert [check.ok for check in notified(settings(webhook=webhook))] == [False]
    monkeypatch.setenv("WEBHOOK_TEST_SECRET", "hunter2")
    (check,) = notified(settings(webhook=webhook))
    assert check.ok
    assert "hunter2" not in check.detail
