"""`python -m storage.migrations "what changes"` writes the next revision from the difference between rows and HEAD.

Read it, correct it, and set `storage.schema.HEAD`; the tests say what is missing.
"""

from __future__ import annotations

import sys

from sqlalchemy import create_engine

from storage.schema import HEAD, migration_config, upgrade


def main(what_changes: str) -> None:
    from alembic import command

    with create_engine("sqlite://").connect() as connection:
        upgrade(connection)
        config = migration_config()
        config.attributes["connection"] = connection
        command.revision(config, what_changes, autogenerate=True, rev_id=f"{int(HEAD) + 1:04d}")


if __name__ == "__main__":
    main(sys.argv[1])
