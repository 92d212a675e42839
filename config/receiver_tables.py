"""The `[[peers]]` and `[[routes]]` of a file: each by itself, and whether they go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from config.checking import Given, Model, checked_section
from config.errors import ConfigError
from config.receivers import PeerSettings, RouteSettings

Origin = Callable[[str], str]
"""Where in the file a key stands."""


def peers_of(tables: Any, origin: Origin) -> tuple[PeerSettings, ...]:
    """The peers of the file. Raises ConfigError for the first thing that is wrong."""
    peers = tuple(_entries("peers", tables, PeerSettings, origin))
    _refuse_twins(peers, origin)
    return peers


def routes_of(tables: Any, peers: tuple[PeerSettings, ...], origin: Origin) -> tuple[RouteSettings, ...]:
    """The routes of the file, between these peers. Raises ConfigError for the first thing that is wrong."""
    routes = tuple(_entries("routes", tables, RouteSettings, origin))
    names: set[str] = set()
    for index, route in enumerate(routes):
        _refuse_unknown_peers(index, route, peers, origin)
        if route.name.casefold() in names:
            key = f"routes[{index}].name"
            raise ConfigError(key, route.name, origin(key), "another route has this name")
        names.add(route.name.casefold())
    return routes


def _entries(name: str, tables: Any, model: type[Model], origin: Origin) -> Iterator[Model]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(name, None, origin(name), f"is a list of tables: write [[{name}]]")
    for index, table in enumerate(tables):
        prefix = f"{name}[{index}]."
        for key, value in table.items():
            if key not in model.model_fields:
                has = ", ".join(model.model_fields)
                why = f"unknown key; a {name.removesuffix('s')} has {has}"
                raise ConfigError(prefix + key, value, origin(prefix + key), why)
        values = {key: Given(value, origin(prefix + key)) for key, value in table.items()}
        yield checked_section(model, values, prefix=prefix, otherwise=origin(prefix[:-1]))


def _refuse_unknown_peers(index: int, route: RouteSettings, peers: tuple[PeerSettings, ...], origin: Origin) -> None:
    known = sorted(peer.name for peer in peers)
    for field, named in (("add", route.add), ("leave_out", route.leave_out)):
        for name in named:
            if name not in known:
                key = f"routes[{index}].{field}"
                why = f"no peer is called {name!r}; the configured are: {', '.join(known) or 'none'}"
                raise ConfigError(key, list(named), origin(key), why)


def _refuse_twins(peers: tuple[PeerSettings, ...], origin: Origin) -> None:
    for index, peer in enumerate(peers):
        for earlier_index, earlier in enumerate(peers[:index]):
            first = origin(f"peers[{earlier_index}].name")
            for field, why in _twin(peer, earlier, first):
                key = f"peers[{index}].{field}"
                raise ConfigError(key, getattr(peer, field), origin(key), why)


def _twin(peer: PeerSettings, earlier: PeerSettings, first: str) -> Iterator[tuple[str, str]]:
    """What the two may not have in common, and why."""
    if peer.name.casefold() == earlier.name.casefold():
        yield "name", f"the name is taken by the peer at {first}"
    # The same entity twice would get every result twice.
    is_same_entity = (peer.ae_title, peer.host, peer.port) == (earlier.ae_title, earlier.host, earlier.port)
    if peer.ae_title and is_same_entity:
        yield "ae_title", f"the same AE title, host and port as peer {earlier.name!r}"
    if peer.stow_url and peer.stow_url == earlier.stow_url:
        yield "stow_url", f"the same service as peer {earlier.name!r}"
