"""The API against its own description, with whatever schemathesis thinks of: no 500, nothing undocumented, and nothing
but 401 for who has no token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from dicom_node.core.account import Role
from tests.unit.app.node import STUDY, Node, silenced
from tests.unit.web.builders import accounts, app

ANONYMOUS = {"/healthz", "/readyz"}
TRIES = settings(max_examples=40, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Described:
    """The operations of the API, and the header of a script that may look."""

    operations: tuple[Any, ...]
    bearer: dict[str, str]


@pytest.fixture
def described(tmp_path: Path) -> Described:
    node = Node(tmp_path)
    with silenced():
        node.receive_study()
        node.settle(turns=3)
    accounts(node).add("robot", Role.VIEWER, "", actor="a test")
    _, token = accounts(node).add_token("robot", role=Role.VIEWER, label="", days=1, actor="a test")
    bearer = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app(node), headers=bearer)
    return Described(tuple(found.ok() for found in schema.get_all_operations()), bearer)


def test_every_answer_is_one_that_the_description_names(described: Described) -> None:
    assert len(described.operations) >= 9
    for operation in described.operations:

        @TRIES
        @given(case=operation.as_strategy())
        def is_answered_as_described(case: Any) -> None:
            if len(str(case.path_parameters.get("study_instance_uid", ""))) % 2:
                case.path_parameters["study_instance_uid"] = STUDY
            case.call_and_validate(headers=described.bearer)

        is_answered_as_described()


def test_an_admins_calls_are_answered_as_described_too_and_none_of_them_breaks_anything(tmp_path: Path) -> None:
    """What is made up here changes accounts, verdicts and deliveries for true; the admin's own token stays."""
    node = Node(tmp_path)
    with silenced():
        node.receive_study()
        node.settle(turns=3)
    keeper = accounts(node).add("keeper", Role.ADMIN, "", actor="a test")
    _, token = accounts(node).add_token("keeper", role=Role.ADMIN, label="", days=1, actor="a test")
    bearer = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app(node), headers=bearer)
    changing = [found.ok() for found in schema.get_all_operations() if found.ok().method.upper() != "GET"]
    assert len(changing) >= 12
    for operation in changing:

        @TRIES
        @given(case=operation.as_strategy())
        def is_answered_as_described(case: Any) -> None:
            parameters = case.path_parameters
            if len(str(parameters.get("study_instance_uid", ""))) % 2:
                parameters["study_instance_uid"] = STUDY
            if "token_id" in parameters and parameters["token_id"] == 1:
                parameters["token_id"] = 2
            if "name" in parameters and str(parameters["name"]).strip().lower() == keeper.name:
                parameters["name"] = "nobody"
            case.call_and_validate(headers=bearer)

        is_answered_as_described()


def test_without_a_token_every_call_is_401_whatever_it_asks(described: Described) -> None:
    for operation in described.operations:

        @TRIES
        @given(case=operation.as_strategy())
        def is_refused(case: Any) -> None:
            path, status = case.operation.path, case.call().status_code
            assert status == (200 if path in ANONYMOUS else 401), (path, status)

        is_refused()
