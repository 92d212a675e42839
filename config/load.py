"""Reads the configuration: defaults < file < environment CSPINE_NODE__SECTION__KEY < command line.

Every value keeps its origin, so that a refusal can say which key, its value and where it came from. `peers` and
`routes` come from the file alone.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import socket
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from config.checking import Given, annotation_of, checked_section, message_of
from config.errors import ConfigError
from config.lines import line_of, lines_of_keys
from config.receiver_tables import peers_of, routes_of
from config.receivers import PeerSettings, RouteSettings
from config.settings import Settings, sections
from config.words import Section

ENVIRONMENT_PREFIX = "CSPINE_NODE__"
_LISTS = ("peers", "routes")
DEFAULT_FILE = Path(__file__).with_name("node.toml")


@dataclass(frozen=True, kw_only=True)
class LoadedSettings:
    """`settings` with the origin of each value: "default", "FILE:LINE", "environment NAME" or "command line".

    `path` is the file that was read, None where there was none; relative folders in `settings` are absolute.
    """

    settings: Settings
    provenance: Mapping[str, str]
    path: Path | None


class _Parsed(NamedTuple):
    given: dict[str, Given]
    peers: tuple[PeerSettings, ...]
    routes: tuple[RouteSettings, ...]


def load_settings(
    path: Path | str | None,
    *,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """The validated settings and where each came from. Raises ConfigError for the first thing that is wrong.

    `overrides` are the command line's, by dotted key ("node.port"); None values are not given. `environ` defaults
    to the process environment.
    """
    file = Path(path) if path is not None else None
    environ = os.environ if environ is None else environ
    parsed = _Parsed({}, (), ()) if file is None else _from_text(read_text(file), str(file))
    given, peers = parsed.given, parsed.peers
    given |= dict(_from_environment(environ))
    given |= {key: Given(value, "command line") for key, value in (overrides or {}).items() if value is not None}
    checked = _validated(given)
    checked = _with_absolute_paths(checked, given, file)
    provenance = {key: given[key].source if key in given else "default" for key in setting_keys()}
    provenance["peers"] = str(file) if peers else "default"
    checked = checked.model_copy(update={"peers": peers, "routes": parsed.routes})
    return LoadedSettings(settings=checked, provenance=types.MappingProxyType(provenance), path=file)


def parse_peers(text: str, *, source: str) -> tuple[PeerSettings, ...]:
    """The peers in the text of a configuration file. Raises ConfigError; the rest of the file is checked as well."""
    parsed = _from_text(text, source)
    _validated(parsed.given)
    return parsed.peers


def read_text(file: Path) -> str:
    """The file's text. Raises ConfigError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("", None, str(file), f"cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError("", None, str(file), "the configuration is not UTF-8 text") from None


def setting_keys() -> tuple[str, ...]:
    """Every dotted key outside `peers`, in the file's order."""
    return tuple(f"{name}.{field}" for name, section in sections().items() for field in section.own_keys())


def check_port_free(host: str, port: int, *, key: str = "node.port", source: str = "") -> None:
    """Returns where `host`:`port` can be listened on now. Raises ConfigError where it cannot; 0 is always free."""
    if port == 0:
        return
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigError(key.replace("port", "host"), host, source, f"unknown address: {error.strerror}") from None
    family, kind, protocol, _, address = infos[0]
    with socket.socket(family, kind, protocol) as probe:
        # As the servers do, so that a port in TIME_WAIT after a restart counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ConfigError(key, port, source, _why_not(error, host)) from None


def _why_not(error: OSError, host: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is in use on {host}; stop the other program or choose another port"
    if error.errno == errno.EACCES:
        return "this user may not listen on that port; choose one above 1023"
    return f"cannot listen on {host}: {error.strerror}"


def _from_text(text: str, source: str) -> _Parsed:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = where[1] if where else text.rstrip("\n").count("\n") + 1  # "at end of document"
        place = f"{source}:{line}"
        raise ConfigError("", None, place, f"not valid TOML: {error}") from None
    lines = lines_of_keys(text)

    def origin(key: str) -> str:
        line = line_of(key, lines)
        return f"{source}:{line}" if line else source

    given = {key: Given(value, origin(key)) for key, value in _flat(document, origin)}
    peers = peers_of(document.get("peers", []), origin)
    return _Parsed(given, peers, routes_of(document.get("routes", []), peers, origin))


def _flat(document: dict[str, Any], origin: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    known = sections()
    for key, table in document.items():
        name = prefix + key
        if name in _LISTS:
            continue
        if not _is_table(name):
            raise ConfigError(name, None, origin(name), f"unknown section; known are {', '.join([*known, *_LISTS])}")
        if not isinstance(table, dict):
            raise ConfigError(name, table, origin(name), f"is a section: write [{name}]")
        inside = {inner: value for inner, value in table.items() if _is_table(f"{name}.{inner}") or name not in known}
        yield from _flat(inside, origin, f"{name}.")
        yield from ((f"{name}.{inner}", value) for inner, value in table.items() if inner not in inside)


def _is_table(name: str) -> bool:
    return any(f"{section}.".startswith(f"{name}.") for section in sections())


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Given]]:
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        key = ".".join(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        source = f"environment {name}"
        _known(key, environ[name], source)
        yield key, Given(_from_word(key, environ[name], source), source)


def _from_word(key: str, word: str, source: str) -> Any:
    """A word of the environment as the type of `key`: the rest of the path is strict, and words are all we get here."""
    section, _, name = key.rpartition(".")
    try:
        return TypeAdapter(annotation_of(sections()[section], name)).validate_python(word)
    except ValidationError as error:
        raise ConfigError(key, word, source, message_of(error.errors()[0])) from None


def _known(key: str, value: Any, source: str) -> None:
    if key not in setting_keys():
        raise ConfigError(key, value, source, _unknown(key))


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, setting_keys(), n=1)
    return "unknown key" + (f"; did you mean {near[0]}?" if near else "; docs/CONFIGURATION.md lists every key")


def _validated(given: Mapping[str, Given]) -> Settings:
    for key, (value, source) in given.items():
        _known(key, value, source)
    tables = {
        name: checked_section(
            model,
            {key.rpartition(".")[2]: given[key] for key in given if key.rpartition(".")[0] == name},
            prefix=f"{name}.",
            otherwise="default",
        )
        for name, model in sections().items()
    }
    settings = Settings.model_validate(_nested(tables))
    _check_together(settings, given)
    return settings


def _nested(tables: Mapping[str, Section]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, table in tables.items():
        group, _, inner = name.rpartition(".")
        around = nested.setdefault(group, {}) if group else nested
        if isinstance(around, Section):  # its keys came before its tables
            nested[group] = around.model_copy(update={inner: table})
        else:
            around[inner] = table
    return nested


def _check_together(settings: Settings, given: Mapping[str, Given]) -> None:
    study = settings.study
    if study.hard_limit_s < study.quiet_period_s:
        source = given["study.hard_limit_s"].source if "study.hard_limit_s" in given else "default"
        raise ConfigError(
            "study.hard_limit_s",
            study.hard_limit_s,
            source,
            f"is shorter than study.quiet_period_s = {study.quiet_period_s}; a study would never close by quiet",
        )
    url_source = given["database.url"].source if "database.url" in given else "default"
    if urlsplit(settings.database.url).password and not url_source.startswith("environment "):
        raise ConfigError(
            "database.url",
            "(hidden)",
            url_source,
            "holds a password, which does not belong there: put it into .pgpass, or give the URL by the environment "
            "variable CSPINE_NODE__DATABASE__URL",
        )
    free, refused_below = settings.retention.minimum_free_bytes, settings.node.min_free_bytes
    if 0 < free <= refused_below:
        key = "retention.minimum_free_bytes"
        raise ConfigError(
            key,
            free,
            given[key].source if key in given else "default",
            f"is not more than node.min_free_bytes = {refused_below}: images would be refused before one is removed",
        )
    inference = settings.inference
    if inference.localiser == "totalsegmentator" and inference.totalsegmentator_timeout_s >= inference.timeout_s:
        key = "inference.totalsegmentator_timeout_s"
        raise ConfigError(
            key,
            inference.totalsegmentator_timeout_s,
            given[key].source if key in given else "default",
            f"is not shorter than inference.timeout_s = {inference.timeout_s}, which would end the analysis around it",
        )


def _with_absolute_paths(settings: Settings, given: Mapping[str, Given], file: Path | None) -> Settings:
    def absolute(key: str, path: Path) -> Path:
        from_here = key in given and given[key].source.startswith(("environment ", "command line"))
        base = Path.cwd() if file is None or from_here else file.resolve().parent
        return Path(os.path.abspath(base / path.expanduser()))

    node = settings.node.model_copy(update={"data_dir": absolute("node.data_dir", settings.node.data_dir)})
    inference = settings.inference
    if inference.bundle != "default":
        inference = inference.model_copy(update={"bundle": str(absolute("inference.bundle", Path(inference.bundle)))})
    if "/" in inference.totalsegmentator_python:  # without one it is a command, looked up on the PATH
        key = "totalsegmentator_python"
        inference = inference.model_copy(
            update={key: str(absolute(f"inference.{key}", Path(inference.totalsegmentator_python)))}
        )
    return settings.model_copy(update={"node": node, "inference": inference})
