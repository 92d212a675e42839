"""Logs without patients, metrics under declared names."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import generate_latest
from pydicom.dataset import Dataset

from dicom_node.app import counting
from dicom_node.core.errors import StorageUnavailable
from dicom_node.core.study import PatientSummary
from dicom_node.dimse import counted
from dicom_node.gauges import GAUGES
from dicom_node.observability import MASKED, METRICS, MOST_SERIES, PrometheusCounters, configure_logging
from tests.builders.commands import logging_as_before


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    with logging_as_before():
        yield capsys


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_json_line_with_its_keys(logged) -> None:
    configure_logging(level="info", format="json")
    log = structlog.get_logger("dicom_node.test")
    log.info("study_closed", study="abc", revision=2, file=Path("x/y"))
    log.debug("too_much")
    (line,) = lines(logged)
    assert (line["event"], line["level"], line["study"], line["revision"], line["file"]) == (
        "study_closed", "info", "abc", 2, "x/y",
    )  # fmt: skip


def test_keys_and_values_that_could_hold_a_patient_are_withheld(logged) -> None:
    configure_logging(level="info", format="json")
    data_set = Dataset()
    data_set.PatientName = "Doe^Jane"
    structlog.get_logger("dicom_node.test").warning(
        "slip",
        patient_name="Doe^Jane",
        PatientID="4711",
        birth_date="19610203",
        accession_number="A1",
        instance=data_set,
        name=data_set.PatientName,
        record=PatientSummary(patient_name="Doe^Jane"),
        nested={"patient_id": "4711", "fine": ["kept", data_set]},
    )
    text = json.dumps(lines(logged)[0])
    assert "Doe" not in text
    assert "4711" not in text
    assert "19610203" not in text
    assert MASKED in text
    assert "kept" in text


def test_a_traceback_keeps_its_places_and_only_our_own_words(logged) -> None:
    configure_logging(level="info", format="json")
    log = structlog.get_logger("dicom_node.test")
    try:
        try:
            raise ValueError("cannot parse Doe^Jane")
        except ValueError as error:
            raise StorageUnavailable("the disk of node 7 is full") from error
    except StorageUnavailable:
        log.exception("step_failed")
    (line,) = lines(logged)
    assert "Doe" not in json.dumps(line)
    assert "StorageUnavailable: the disk of node 7 is full" in line["exception"]
    assert "ValueError\n" in line["exception"]
    assert "test_observability.py:" in line["exception"]


def test_libraries_that_quote_element_values_are_silent_and_others_speak_from_warning_on(logged) -> None:
    configure_logging(level="info", format="json")
    logging.getLogger("pydicom").warning("Invalid value for VR PN: Doe^Jane")
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.error").warning("slow")
    assert [line["event"] for line in lines(logged)] == ["slow"]


def test_every_name_the_node_counts_under_is_declared_and_none_besides() -> None:
    names = {
        value
        for module in (counting, counted)
        for name, value in inspect.getmembers(module)
        if name.isupper() and isinstance(value, str)
    }
    assert set(METRICS) == names


def test_counts_and_values_stand_on_the_metrics_page() -> None:
    counters = PrometheusCounters()
    counters.count(counting.INSTANCES_RECEIVED, calling_aet="CT1")
    counters.count(counting.INSTANCES_RECEIVED, calling_aet="CT1")
    counters.observe(counting.BYTES_RECEIVED, 500_000.0)
    counters.observe(counting.RESULT_LATENCY_SECONDS, 12.0, peer="pacs")
    page = generate_latest(counters.registry).decode()
    assert 'cspine_instances_received_total{calling_aet="CT1"} 2.0' in page
    assert "cspine_bytes_received_sum 500000.0" in page
    assert 'cspine_seconds_from_last_image_to_stored_result_bucket{le="15.0",peer="pacs"} 1.0' in page


def test_a_name_or_label_that_is_not_declared_is_a_programming_error() -> None:
    counters = PrometheusCounters()
    with pytest.raises(KeyError):
        counters.count("instances_recieved")
    with pytest.raises(ValueError):
        counters.count(counting.INSTANCES_RECEIVED, patient="x")


def test_a_flood_of_ever_new_callers_makes_no_series_each() -> None:
    counters = PrometheusCounters()
    for number in range(MOST_SERIES + 50):
        counters.count(counting.INSTANCES_RECEIVED, calling_aet=f"AE{number}")
    counters.count(counting.INSTANCES_RECEIVED, calling_aet="AE0")
    page = generate_latest(counters.registry).decode()
    assert page.count("cspine_instances_received_total{") == MOST_SERIES + 1
    assert 'cspine_instances_received_total{calling_aet="other"} 50.0' in page
    assert 'cspine_instances_received_total{calling_aet="AE0"} 2.0' in page, "who is known is still told apart"


def test_what_is_looked_up_stands_beside_what_was_counted() -> None:
    counters = PrometheusCounters()
    counters.watch(lambda: [("associations_open", (), 3.0)])
    assert "cspine_associations_open 3.0" in generate_latest(counters.registry).decode()


def test_names_follow_the_conventions_of_prometheus() -> None:
    """Base units at the end, no total or bucket of our own, nothing but letters and underscores."""
    for name in (*METRICS, *GAUGES):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), name
        assert not name.endswith(("_total", "_bucket", "_count", "_sum", "_ms", "_minutes", "_mb", "_percent")), name
    assert not set(METRICS) & set(GAUGES)
