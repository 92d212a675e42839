"""alembic environment (`env.py`) and the revisions of the schema (`versions/`)."""
