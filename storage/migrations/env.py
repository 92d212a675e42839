"""Runs revisions in the connection and the transaction that `storage.schema` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from storage.rows import HeaderText, Row, UtcDateTime


def render_item(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Our column types as plain ones: a released revision must not change when `rows` does."""
    if isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    return "sa.Text()" if isinstance(item, HeaderText) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    render_item=render_item,
    # SQLite cannot alter most things in place; alembic copies the table instead.
    render_as_batch=context.config.attributes.get("render_as_batch", True),
)
with context.begin_transaction():
    context.run_migrations()
