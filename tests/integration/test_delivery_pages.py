"""A page of deliveries comes from an index whatever the filter, so the hundred-thousandth costs what the first does.

Times are not measured here: `EXPLAIN QUERY PLAN` says what would grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from dicom_node.core.delivery import DeliveryState
from storage.database import Database, open_database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database("sqlite", data_dir=tmp_path)
    yield opened
    opened.close()


def plan(database: Database, **filters: Any) -> str:
    """How SQLite finds the page, in its own words."""
    asked: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _x: object, _many: bool) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    with database.reading() as uow:
        uow.deliveries.list(**filters, limit=51, offset=1000)
    event.remove(database.engine, "before_cursor_execute", note)
    ((statement, parameters),) = asked
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    return " / ".join(str(row[3]) for row in rows)


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        ({}, "ix_delivery_created_at"),
        ({"states": [DeliveryState.FAILED]}, "ix_delivery_state_created_at (state=?)"),
        ({"peer": "pacs"}, "ix_delivery_peer_created_at (peer=?)"),
        ({"states": [DeliveryState.STORED], "peer": "pacs"}, "ix_delivery_peer_state_created_at (peer=? AND state=?)"),
    ],
)
def test_a_page_of_deliveries_comes_from_an_index_in_its_order(
    database: Database, filters: dict[str, Any], index: str
) -> None:
    found = plan(database, **filters)
    assert index in found
    assert "TEMP B-TREE" not in found
