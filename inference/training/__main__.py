"""`python -m inference.training`."""

from inference.training.cli import app

app()
