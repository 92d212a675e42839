"""The part of the API that changes peers, with the token of somebody who may: whatever schemathesis sends, no 500, no
status that the description does not name, and a file that is right afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from config.editing import list_peers
from dicom_node.core.account import Role
from tests.unit.web.builders import app
from tests.unit.web.peer_file import PeerFile

TRIES = settings(max_examples=25, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def file(tmp_path: Path) -> PeerFile:
    return PeerFile(tmp_path)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR])
def test_whatever_is_sent_is_answered_and_leaves_a_file_that_is_right(file: PeerFile, role: Role) -> None:
    before = file.file.read_text()
    headers = {"Authorization": file.script(role).headers["Authorization"]}
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app(file.node, **file.sources), headers=headers)
    operations = [found.ok() for found in schema.get_all_operations()]
    peers = [operation for operation in operations if operation.path.startswith("/api/v1/peers")]
    assert len(peers) >= 9
    for operation in peers:

        @TRIES
        @given(case=operation.as_strategy())
        def is_answered(case: Any) -> None:
            if len(str(case.path_parameters.get("name", ""))) % 2:
                case.path_parameters["name"] = "pacs"
            case.headers["If-Match"] = "*"
            answer = case.call(headers=headers)
            # Not positive_data_acceptance: what is right for one key alone may be wrong for the file (a name that is
            # taken, a route to a peer that goes, keys of TLS that go together), and only the whole file says so (422).
            case.validate_response(answer, checks=[not_a_server_error, status_code_conformance])

        is_answered()
    list_peers(file.file)
    if role is not Role.ADMIN:
        assert file.file.read_text() == before
