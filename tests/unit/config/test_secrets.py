"""No secret stands in the configuration: a setting names the variable or the file that holds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import AfterValidator

from config.errors import ConfigError
from config.load import load_settings
from config.receivers import PeerSettings, RouteSettings
from config.settings import sections
from config.upkeep import AuditSettings, QuarantineSettings, RetentionSettings
from config.words import AbsolutePath, VariableName

LIKE_A_SECRET = re.compile(r"secret|passw|passc|token|credential|(^|_)key($|_)|private", re.IGNORECASE)
NAMES_ONLY = {
    rule.func for kind in (AbsolutePath, VariableName) for rule in kind.__metadata__ if isinstance(rule, AfterValidator)
}


def settings_like_secrets() -> dict[str, bool]:
    """Every setting whose name sounds like a secret, and whether it can only be a variable's or a file's name."""
    models = {**sections(), "peers": PeerSettings, "routes": RouteSettings}
    return {
        f"{section}.{name}": any(
            getattr(rule, "func", None) in NAMES_ONLY for rule in model.model_fields[name].metadata
        )
        for section, model in models.items()
        for name in model.own_keys()
        if LIKE_A_SECRET.search(name)
    }


def test_a_setting_that_sounds_like_a_secret_takes_the_name_of_a_variable_or_of_a_file() -> None:
    found = settings_like_secrets()
    assert len(found) >= 5, "the search finds those that are known: " + ", ".join(found)
    assert [key for key, names_only in found.items() if not names_only] == []


def test_a_password_in_the_database_url_is_taken_from_the_environment_alone_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    url = "postgresql+psycopg://node:hunter2@host/node"
    file.write_text(f'[database]\nurl = "{url}"\n')
    with pytest.raises(ConfigError) as refused:
        load_settings(file, environ={})
    assert "hunter2" not in str(refused.value)
    assert "CSPINE_NODE__DATABASE__URL" in str(refused.value)
    file.write_text("")
    loaded = load_settings(file, environ={"CSPINE_NODE__DATABASE__URL": url})
    assert loaded.settings.database.url == url


def test_retention_that_would_act_only_when_images_are_refused_already_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text("[node]\nmin_free_bytes = 100\n[retention]\nminimum_free_bytes = 100\n")
    with pytest.raises(ConfigError, match=r"retention\.minimum_free_bytes.*not more than node\.min_free_bytes"):
        load_settings(file, environ={})


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[audit]\nsyslog_key = "/etc/key.pem"\n')
    with pytest.raises(ConfigError, match=r"audit\.syslog_key"):
        load_settings(file, environ={})


def test_nothing_is_removed_by_default_and_the_trail_is_a_file() -> None:
    retention, quarantine, audit = RetentionSettings(), QuarantineSettings(), AuditSettings()
    assert (retention.maximum_age_days, retention.minimum_free_bytes, quarantine.maximum_age_days) == (0.0, 0, 0.0)
    assert (audit.file, audit.syslog_host) == (True, "")
