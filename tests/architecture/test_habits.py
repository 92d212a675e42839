"""Habits that a review would otherwise have to watch for."""

from __future__ import annotations

import ast
import re

import pytest

from dicom_node.core import transitions
from dicom_node.core.delivery import DeliveryState
from dicom_node.core.job import JobState
from dicom_node.core.study import StudyState
from tests.architecture.source import ROOT, calls, modules

LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "bind"}
LOGGER_NAMES = {"log", "logger", "_log", "_logger"}
PATIENT_WORDS = re.compile(
    r"patient_?(name|id|summary)?$|birth|accession|data_?set$|\bds\b|PatientName|PatientID|PatientBirthDate"
)

# Where `except Exception` may stand: the five boundaries of docs/ARCHITECTURE.md.
BOUNDARIES = (
    "dicom_node.dimse.handlers",
    "dicom_node.app.run_analysis",
    "dicom_node.app.deliver_results",
    "dicom_node.app.report_status",
    "dicom_node.app.ticks",
    "dicom_node.scheduling",
    "dicom_node.analysis.child",
    "dicom_node.web",
    "dicom_node.cli",
    "dicom_node.bootstrap",
)

NEEDS_NO_EXIT = {
    JobState.DONE,
    JobState.SKIPPED,
    JobState.FAILED,
    JobState.SUPERSEDED,
    JobState.CANCELLED,
    DeliveryState.STORED,
    DeliveryState.COMMITTED,
    DeliveryState.FAILED,
    DeliveryState.CANCELLED,
    StudyState.PURGED,
}


def test_nothing_prints():
    printers = {
        (name, call.lineno)
        for name, tree in modules().items()
        for call in calls(tree)
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    }
    assert not printers


def _log_calls(tree: ast.Module):
    for call in calls(tree):
        func = call.func
        if not isinstance(func, ast.Attribute) or func.attr not in LOG_METHODS:
            continue
        receiver = func.value
        name = receiver.attr if isinstance(receiver, ast.Attribute) else getattr(receiver, "id", "")
        if name in LOGGER_NAMES:
            yield call


def _words_in(call: ast.Call) -> set[str]:
    words = {keyword.arg for keyword in call.keywords if keyword.arg}
    for node in ast.walk(call):
        if isinstance(node, ast.Attribute):
            words.add(node.attr)
        elif isinstance(node, ast.Name):
            words.add(node.id)
    return words


def test_no_log_call_names_patient_data():
    offences = {
        (name, call.lineno, word)
        for name, tree in modules().items()
        for call in _log_calls(tree)
        for word in _words_in(call)
        if PATIENT_WORDS.search(word)
    }
    assert not offences


def test_there_are_log_calls_to_check():
    assert sum(1 for tree in modules().values() for _ in _log_calls(tree)) > 10


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """Cleaning up on the way out swallows nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and (last.exc is None or last.cause is not None)


def test_broad_excepts_stand_only_at_the_boundaries():
    broad = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}))
        and not _raises_again(node)
        and not any(name == home or name.startswith(home + ".") for home in BOUNDARIES)
    }
    assert not broad


def test_the_state_diagrams_are_the_tables():
    assert (ROOT / "docs/STATES.md").read_text() == transitions.document()


@pytest.mark.parametrize("name", sorted(transitions.TABLES))
def test_every_state_that_is_not_terminal_has_a_way_out_without_an_operator(name: str):
    table = transitions.TABLES[name]
    states = {state for state, _ in table} | set(table.values())
    leaves_alone = {
        source
        for (source, event), target in table.items()
        if target is not source and not event.value.startswith("operator")
    }
    assert states - leaves_alone - NEEDS_NO_EXIT == set()


def test_public_modules_say_what_they_are():
    silent = {name for name, tree in modules().items() if tree.body and not ast.get_docstring(tree)}
    assert not silent
