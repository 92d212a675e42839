"""A table of the file against its model: the first thing that is wrong, with its key and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from config.errors import ConfigError
from config.words import Section

Model = TypeVar("Model", bound=Section)


class Given(NamedTuple):
    """A value of the file, the environment or the command line, and its origin."""

    value: Any
    source: str


def checked_section(model: type[Model], values: Mapping[str, Given], *, prefix: str, otherwise: str) -> Model:
    """The table as its model. `prefix` makes its keys whole; `otherwise` is the origin of what was not given.

    Raises ConfigError; a password is not repeated in it.
    """
    # Strict: "11112" is no port and 1 is not true. Only a path has no type of its own in TOML.
    plain = {
        key: Path(value) if isinstance(value, str) and annotation_of(model, key) is Path else value
        for key, (value, _) in values.items()
    }
    try:
        return model.model_validate(plain, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else getattr(first.get("ctx", {}).get("error"), "key", "")
        given = values.get(name, Given(None, otherwise))
        is_secret = prefix + name == "database.url" or (name.endswith("url") and "@" in str(given.value))
        value = "(hidden)" if is_secret else given.value
        raise ConfigError(prefix + name, value, given.source, message_of(first)) from None


def annotation_of(model: type[Section], name: str) -> Any:
    """The type of a setting; None for one that is not there."""
    field = model.model_fields.get(name)
    return field.annotation if field else None


def message_of(error: Any) -> str:
    """pydantic's complaint in our words."""
    if error["type"] == "missing":
        return "is required and not given"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return "unknown key"
    return error["msg"][0].lower() + error["msg"][1:]
