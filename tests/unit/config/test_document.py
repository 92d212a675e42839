"""Every setting is documented, and the page is the models' own words."""

from __future__ import annotations

from pathlib import Path

from config.document import document
from config.load import setting_keys
from config.receivers import PeerSettings, RouteSettings
from config.settings import sections

ROOT = Path(__file__).parents[3]


def test_the_configuration_page_is_what_the_models_say() -> None:
    assert (ROOT / "docs/CONFIGURATION.md").read_text("utf-8") == document(), "python -m config.document"


def test_every_setting_has_a_description_and_stands_on_the_page() -> None:
    page = document()
    models = (*sections().values(), PeerSettings, RouteSettings)
    fields = [(name, model.model_fields[name]) for model in models for name in model.own_keys()]
    assert len(fields) == len(setting_keys()) + len(PeerSettings.model_fields) + len(RouteSettings.model_fields)
    assert [name for name, field in fields if not field.description] == []
    assert [name for name, _ in fields if f"| `{name}` |" not in page] == []
