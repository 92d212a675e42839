"""Log-in by an OpenID Connect provider, against a stand-in that can be made to lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import ECKey

from dicom_node.core.account import Role
from dicom_node.web.auth.provider import Provider, ProviderRules
from tests.builders.oidc_provider import CLIENT_ID, CLIENT_SECRET, StandInProvider
from tests.unit.app.node import Node
from tests.unit.web.builders import PASSWORD, accounts, app, keys

HERE = "http://testserver"


class House:
    """A node and the provider of its house."""

    def __init__(self, node: Node, provider: StandInProvider) -> None:
        self.node, self.provider = node, provider
        rules = ProviderRules(
            issuer=provider.issuer,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            redirect_uri=f"{HERE}/login/provider/back",
            groups={Role.VIEWER: ("radiology",), Role.ADMIN: ("it", "pacs")},
            timeout_s=5.0,
        )
        self.app = app(node, keys=keys(node, provider=Provider(rules, node.clock)))

    def browser(self) -> TestClient:
        return TestClient(self.app, base_url=HERE, follow_redirects=False)

    def log_in(self, browser: TestClient, wanted: str = "/") -> Any:
        leaving = browser.get("/login/provider", params={"next": wanted})
        assert leaving.status_code == 303
        return browser.get(self.provider.authorise(leaving.headers["location"]))

    def role_of(self, name: str) -> Role | None:
        return {account.name: account.role for account in accounts(self.node).list()}.get(name)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    node = Node(tmp_path)
    with StandInProvider(now=lambda: node.clock.at.timestamp()) as provider:
        yield House(node, provider)


def test_who_the_provider_vouches_for_is_let_in_with_the_role_of_their_groups(house: House) -> None:
    browser = house.browser()
    assert "account of your house" in browser.get("/login").text
    answer = house.log_in(browser, "/quarantine")
    assert answer.status_code == 200
    assert 'content="0; url=/quarantine"' in answer.text, "a redirect would come without the Strict cookie"
    assert browser.get("/quarantine").status_code == 200
    assert house.role_of("ann") is Role.VIEWER
    house.provider.claims["groups"] = ["radiology", "pacs"]
    house.log_in(house.browser())
    assert house.role_of("ann") is Role.ADMIN
    assert browser.get("/quarantine").status_code == 303, "another role ends the sessions of the earlier one"


def test_groups_may_stand_in_the_userinfo_of_the_same_person(house: House) -> None:
    del house.provider.claims["groups"]
    house.provider.userinfo = {"sub": "4711", "groups": ["it"], "preferred_username": "mallory"}
    assert house.log_in(house.browser()).status_code == 200
    assert house.role_of("ann") is Role.ADMIN
    house.provider.userinfo["sub"] = "4712"
    assert house.log_in(house.browser()).status_code == 403


LIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "for another journey": lambda claims: claims | {"nonce": "other"},
    "without a nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "for another client": lambda claims: claims | {"aud": "another"},
    "for another client too": lambda claims: claims | {"aud": [CLIENT_ID, "another"]},
    "of another issuer": lambda claims: claims | {"iss": "http://evil.example"},
    "expired": lambda claims: claims | {"exp": claims["iat"] - 100},
    "without an end": lambda claims: {name: value for name, value in claims.items() if name != "exp"},
    "without a name": lambda claims: claims | {"preferred_username": None},
    "with a name that is none": lambda claims: claims | {"preferred_username": "<script>"},
    "without a group of ours": lambda claims: claims | {"groups": ["kitchen"]},
    "with groups that are none": lambda claims: claims | {"groups": {"it": True}},
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_an_id_token_that_is_not_ours_lets_nobody_in(house: House, lie: str) -> None:
    house.provider.spoil = LIES[lie]
    browser = house.browser()
    answer = house.log_in(browser)
    assert answer.status_code == 403
    assert "did not let you in" in answer.text
    assert browser.get("/").status_code == 303
    assert accounts(house.node).list() == ()


def test_a_token_signed_with_a_key_that_the_provider_does_not_publish_lets_nobody_in(house: House) -> None:
    house.provider.key = ECKey.generate_key("P-256")
    assert house.log_in(house.browser()).status_code == 403
    assert accounts(house.node).list() == ()


def test_only_the_browser_that_left_comes_back_and_only_once_and_soon(house: House) -> None:
    left, other = house.browser(), house.browser()

    def leave() -> str:
        return house.provider.authorise(left.get("/login/provider").headers["location"])

    stolen = leave()
    assert other.get(stolen).status_code == 403
    assert left.get(stolen).status_code == 403, "the journey is over with the first who comes"
    late = leave()
    house.node.clock.advance(601)
    assert left.get(late).status_code == 403
    good = leave()
    assert left.get(good).status_code == 200
    assert other.get("/login/provider/back?state=x&code=y").status_code == 403


def test_a_local_account_is_not_the_providers_to_give_away(house: House) -> None:
    accounts(house.node).add("ann", Role.ADMIN, PASSWORD, actor="a test")
    assert house.log_in(house.browser()).status_code == 403
    assert house.role_of("ann") is Role.ADMIN


def test_a_disabled_account_stays_out_whatever_the_provider_says(house: House) -> None:
    house.log_in(house.browser())
    accounts(house.node).disable("ann", actor="a test")
    assert house.log_in(house.browser()).status_code == 403


def test_a_provider_that_is_away_or_calls_itself_otherwise_is_a_sentence_and_no_crash(house: House) -> None:
    issuer = house.provider.issuer
    house.provider.issuer = "http://evil.example"
    assert house.browser().get("/login/provider").status_code == 403
    house.provider.issuer = issuer
    house.provider.stop()
    answer = house.browser().get("/login/provider")
    assert (answer.status_code, "did not let you in" in answer.text) == (403, True)


def test_without_a_provider_there_is_no_way_to_it(tmp_path: Path) -> None:
    nobody = TestClient(app(Node(tmp_path)), follow_redirects=False)
    for path in ("/login/provider", "/login/provider/back?state=x&code=y"):
        assert nobody.get(path).headers["location"] == "/login"
