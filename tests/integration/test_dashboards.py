"""Dashboard and alert rules ask only for what the node exposes, and each alert leads to what to do about it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from dicom_node.gauges import GAUGES, PREFIX
from dicom_node.observability import METRICS, PrometheusCounters
from tests.peers import ROOT, require

GRAFANA = ROOT / "deploy/grafana"
ALERTS = GRAFANA / "alerts.yaml"
DASHBOARD = GRAFANA / "dashboards/cspine-node.json"
# Prometheus itself puts these on what it scrapes.
_ITS_OWN = {"job", "instance"}
_SUFFIXES = ("_bucket", "_count", "_sum")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    of_rules = [(rule["alert"], rule["expr"]) for rule in rules()]
    of_panels = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    return of_rules + of_panels


def exposed() -> Mapping[str, set[str]]:
    """Every name that a node's metrics page has, with its labels."""
    known = {"up": set(_ITS_OWN), "process_resident_memory_bytes": set()}
    families = {family.name for family in text_string_to_metric_families(_page())}
    for name, metric in METRICS.items():
        assert f"{PREFIX}_{name}" in families, "declared, and not on the page"
        labels = set(metric.labels)
        if metric.buckets:
            known |= {f"{PREFIX}_{name}{suffix}": labels | {"le"} for suffix in _SUFFIXES}
        else:
            known[f"{PREFIX}_{name}_total"] = labels
    for name, gauge in GAUGES.items():
        assert f"{PREFIX}_{name}" in families, "declared, and not on the page"
        known[f"{PREFIX}_{name}"] = set(gauge.labels)
    return known


def _page() -> str:
    return generate_latest(PrometheusCounters().registry).decode()


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    elif isinstance(node, promql_parser.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql_parser.BinaryExpr):
        yield from selectors(node.lhs)
        yield from selectors(node.rhs)
    elif isinstance(node, promql_parser.Call):
        for argument in node.args:
            yield from selectors(argument)
    elif hasattr(node, "expr"):
        yield from selectors(node.expr)


def wrong_names(expression: str) -> list[str]:
    """What the expression asks for and no node has."""
    known, wrong = exposed(), []
    parsed = promql_parser.parse(expression.replace("$instance", ".*"))
    found = list(selectors(parsed))
    available = set(_ITS_OWN)
    for selector in found:
        if selector.name not in known:
            wrong.append(selector.name)
            continue
        available |= known[selector.name]
        wrong += [
            f"{selector.name}{{{matcher.name}}}"
            for matcher in selector.matchers.matchers
            if matcher.name not in known[selector.name] | _ITS_OWN
        ]
    grouped = re.findall(r"\bby \(([^)]*)\)", expression)
    wrong += [label for group in grouped for label in re.findall(r"\w+", group) if label not in available]
    return wrong


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_name_and_label_asked_for_is_one_the_node_exposes(where: str, expression: str) -> None:
    assert wrong_names(expression) == []


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("cspine_no_such_thing > 0", ["cspine_no_such_thing"]),
        ('rate(cspine_jobs_finished_total{outcom="done"}[5m])', ["cspine_jobs_finished_total{outcom}"]),
        ("sum by (per) (cspine_deliveries)", ["per"]),
        ("max(cspine_jobs_finished)", ["cspine_jobs_finished"]),
        ("histogram_quantile(0.5, rate(cspine_stage_second_bucket[5m]))", ["cspine_stage_second_bucket"]),
    ],
)
def test_the_check_itself_finds_a_name_that_is_wrong(expression: str, wrong: list[str]) -> None:
    assert wrong_names(expression) == wrong


def test_everything_the_node_exposes_is_on_the_dashboard_or_in_an_alert() -> None:
    asked = " ".join(expression for _, expression in expressions())
    silent = {name for name in (*METRICS, *GAUGES) if f"{PREFIX}_{name}" not in asked}
    assert silent == {"tick_last_success_timestamp_seconds"}, "said by tick_healthy, and there for whoever digs"


def test_every_alert_has_a_section_in_the_runbook_that_says_what_to_do() -> None:
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", (ROOT / "docs/RUNBOOK.md").read_text(), re.MULTILINE)
    }
    for rule in rules():
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/RUNBOOK.md"
        assert anchor in anchors, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"].endswith(".")


def test_the_summaries_name_labels_that_their_alert_keeps() -> None:
    for rule in rules():
        kept = _ITS_OWN.copy()
        groups = re.findall(r"\bby \(([^)]*)\)", rule["expr"])
        for selector in selectors(promql_parser.parse(rule["expr"])):
            kept |= exposed().get(selector.name, set())
        if groups:
            kept = {label for group in groups for label in re.findall(r"\w+", group)} | {"sink"} & kept
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= kept, rule["alert"]


def test_the_dashboard_is_one_that_grafana_can_lay_out() -> None:
    document = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    for panel in document["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
    variables = {variable["name"] for variable in document["templating"]["list"]}
    assert {"datasource", "instance"} == variables
    assert "patient" not in re.sub(r"patient_overall|, patients", "", DASHBOARD.read_text()).lower()


def test_what_the_containers_mount_and_name_is_there() -> None:
    prometheus = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    assert prometheus["rule_files"] == ["/etc/prometheus/alerts.yaml"]
    assert [job["job_name"] for job in prometheus["scrape_configs"]] == ["cspine-node"]
    assert all('job="cspine-node"' in rule["expr"] for rule in rules() if re.search(r"\bup\{", rule["expr"]))


@pytest.mark.peer("prometheus")
def test_prometheus_itself_takes_the_rules_and_each_fires_when_it_must(tmp_path: Path) -> None:
    promtool = require("promtool", "prometheus")
    for command in (["check", "rules", str(ALERTS)], ["test", "rules", str(GRAFANA / "alerts.test.yaml")]):
        ran = subprocess.run([promtool, *command], capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stdout + ran.stderr
