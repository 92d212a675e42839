"""The kinds of value that settings have: parsed once, and then they cannot be wrong."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class Section(BaseModel):
    """A part of the configuration: immutable, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def own_keys(cls) -> tuple[str, ...]:
        """The names of its settings; tables inside it are sections of their own."""
        return tuple(name for name, field in cls.model_fields.items() if not _is_section(field.annotation))


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _ae_title(value: str) -> str:
    """`value` without its insignificant spaces, if it is an AE title (PS3.5 6.2, VR AE)."""
    text = value.strip(" ")
    if not 1 <= len(text) <= 16:
        raise ValueError(f"an AE title has 1 to 16 characters, this one has {len(text)}")
    if "\\" in text or not all(" " <= character <= "~" for character in text):
        raise ValueError("an AE title is printable ASCII without backslash")
    return text


def _optional_ae_title(value: str) -> str:
    return _ae_title(value) if value else value


def _peer_name(value: str) -> str:
    if value != value.strip() or not value.isprintable() or "/" in value:
        raise ValueError("a peer name is printable text without outer spaces and without '/'")
    return value


def _host(value: str) -> str:
    """`value` if it can be an address or a name (RFC 1123, and "_", which is observed in the field); empty where there
    is none.
    """
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError("a host is an address or a name, without spaces")
    if not value or _is_address(value):
        return value
    try:
        labels = value.removesuffix(".").encode("idna").decode("ascii").split(".")
    except UnicodeError:
        raise ValueError("a host's name has parts of 1 to 63 characters") from None
    if labels[-1].isdigit():
        raise ValueError("looks like an address and is none")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("a host is an address or a name: letters, digits, - and dots (the port is a key of its own)")
    return value


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return True


def _listed(value: Any) -> Any:
    """TOML's list as the tuple that a frozen model holds."""
    return tuple(value) if isinstance(value, list) else value


def _one_or_listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else _listed(value)


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.strip():
            raise ValueError("an empty text matches nothing")
        if values.count(value) > 1:
            raise ValueError(f"{value!r} is there twice")
    return values


def _kinds(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise ValueError("an empty list delivers nothing; write receives_results = false instead")
    return _distinct(values)


def _processes(value: Any) -> Any:
    if value == "auto":
        return value
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) > 16:
        raise ValueError('a whole number from 0 to 16, or "auto"')
    return int(value)


def _url(value: str) -> str:
    """`value` if it is empty or an http(s) URL that tells no secret."""
    if not value:
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL here starts with https:// or http:// and names a host")
    if parts.username or parts.password:
        raise ValueError("a password does not belong into the configuration; name an environment variable instead")
    return value.rstrip("/")


def _variable(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise ValueError("is the name of an environment variable: letters, digits and _ (not the secret itself)")
    return value


def _user(value: str) -> str:
    if value and (value != value.strip() or not value.isprintable()):
        raise ValueError("a user name is printable text without outer spaces")
    return value


def _hours(value: str) -> str:
    moment = r"([01]\d|2[0-3]):[0-5]\d"
    if value and not re.fullmatch(f"{moment}-{moment}", value):
        raise ValueError('hours are written like "22:00-06:00", or "" for always')
    return value


def _absolute(value: str) -> str:
    if value and not Path(value).is_absolute():
        raise ValueError("is an absolute path")
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value)
        except ValueError as error:
            raise ValueError(f'an address or a network, as in "10.1.0.0/16" or "fd00::/8": {error}') from None
    return _distinct(values)


def _sha256(value: str) -> str:
    text = value.replace(":", "").replace(" ", "").lower()
    if text and not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("is a certificate's SHA-256 fingerprint: 64 hexadecimal digits, with colons or without")
    return text


def is_secure(url: str) -> bool:
    """Whether what is sent there cannot be read on the way: encrypted, or not leaving the machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")


class WrongTogether(ValueError):
    """A value that does not go with the others of its table; `key` names it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


Processes = Annotated[int | Literal["auto"], BeforeValidator(_processes)]
ResultWord = Literal["positive", "negative", "not_analysed"]
LevelWord = Literal["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
ObjectWord = Literal[
    "auto",
    "SEG",
    "SEG_LABELMAP",
    "SUSPICION_SEG",
    "SR",
    "SR_COMPREHENSIVE",
    "SR_ENHANCED",
    "TEXT_SR",
    "SC",
    "KOS",
    "PDF",
]
ObjectWords = Annotated[tuple[ObjectWord, ...], BeforeValidator(_one_or_listed), AfterValidator(_kinds)]
Results = Annotated[tuple[ResultWord, ...], BeforeValidator(_listed), AfterValidator(_distinct)]
Levels = Annotated[tuple[LevelWord, ...], BeforeValidator(_listed), AfterValidator(_distinct)]
PeerName = Annotated[str, AfterValidator(_peer_name), Field(min_length=1, max_length=64)]
Networks = Annotated[tuple[str, ...], BeforeValidator(_one_or_listed), AfterValidator(_networks)]
Sha256Text = Annotated[str, AfterValidator(_sha256), Field(max_length=128)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_distinct)]
UserText = Annotated[str, AfterValidator(_user), Field(max_length=128)]
UrlText = Annotated[str, AfterValidator(_url), Field(max_length=2048)]
VariableName = Annotated[str, AfterValidator(_variable), Field(max_length=128)]
HoursText = Annotated[str, AfterValidator(_hours)]
AbsolutePath = Annotated[str, AfterValidator(_absolute), Field(max_length=4096)]
AETitleText = Annotated[str, AfterValidator(_ae_title)]
HostText = Annotated[str, AfterValidator(_host), Field(min_length=1, max_length=255)]
OptionalAETitle = Annotated[str, AfterValidator(_optional_ae_title)]
OptionalHost = Annotated[str, AfterValidator(_host), Field(max_length=255)]
OptionalPort = Annotated[int, Field(ge=0, le=65535)]
Port = Annotated[int, Field(ge=1, le=65535)]
ListeningPort = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
OptionalPositive = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
OptionalFactor = Annotated[float, Field(ge=1, le=100)] | None
OptionalShare = Annotated[float, Field(ge=0, le=1)] | None
OptionalCount = Annotated[int, Field(ge=1, le=10_000)] | None
