"""Waiting for a real disk would take most of the suite's time; the order of syncs is what these tests look at."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _syncs_return_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: None)
