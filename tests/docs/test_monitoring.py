"""The examples of monitoring.md for other programs: YAML, with metrics and addresses that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.urls import resolve
from prometheus_client import CollectorRegistry

from django_bgtasks.contrib.prometheus import BgTasksCollector
from django_bgtasks.core.options import Options
from django_bgtasks.worker.maintenance import rollups
from tests.interfaces.rows import make_job, make_worker

from .markdown import ROOT, blocks_of

PAGE = ROOT / "docs" / "monitoring.md"
YAML = {b.text.split("\n")[0][2:]: b.text for b in blocks_of(PAGE) if b.kind == "yaml"}
METRIC = re.compile(r"\bbgtasks_\w+")


@pytest.fixture
def exposed(db: None) -> dict[str, set[str]]:
    """The names of all samples, each with the names of its labels."""
    make_job("succeeded", attempt=1)
    make_job(backend="removed")
    make_job("queued", lane="stripe:7", lane_mode="wait", place=1)
    make_job("blocked", rate="sms:fr", waits_for="rate", starts=3, per=60.0)
    make_worker()
    rollups.run_once("default")
    registry = CollectorRegistry()
    registry.register(BgTasksCollector())
    families = list(registry.collect())
    found = {s.name: set(s.labels) for family in families for s in family.samples}
    return {**found, **{f.name: set(f.samples[0].labels) for f in families if f.samples}}


def texts(value: Any) -> Iterator[str]:
    """All strings in it."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def test_every_metric_of_an_example_exists_and_has_these_labels(
    exposed: dict[str, set[str]],
) -> None:
    assert {*YAML} >= {"alerts.yml", "keda.yml", "hpa.yml", "prometheus.yml"}
    seen = set()
    for text in (text for block in YAML.values() for text in texts(yaml.safe_load(block))):
        seen |= set(METRIC.findall(text))
        for name, matchers in re.findall(r"(bgtasks_\w+)\{(.*?)\}", text):
            assert set(re.findall(r"(\w+)=", matchers)) <= exposed[name]
    assert seen <= set(exposed), seen - set(exposed)
    assert len(seen) >= 8


def test_the_table_has_every_metric_with_its_labels_and_no_other(
    exposed: dict[str, set[str]],
) -> None:
    rows = re.findall(r"^\| `(bgtasks_\w+)` \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)
    labels_of = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    series = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exposed}
    assert set(labels_of) | {"bgtasks_jobs_ended"} == series | {
        "bgtasks_redis_up",
        "bgtasks_workflows_stuck",
    }
    for name, labels in labels_of.items():
        assert labels == exposed.get(name, labels) - {"le"}, name


def test_the_alerts_name_a_label_only_where_the_metric_has_it(
    exposed: dict[str, set[str]],
) -> None:
    [group] = yaml.safe_load(YAML["alerts.yml"])["groups"]
    for rule in group["rules"]:
        labels = set.union(*(exposed[name] for name in METRIC.findall(rule["expr"])))
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= labels


def test_the_addresses_lead_to_our_views_and_a_pod_outlives_its_grace() -> None:
    scrape = yaml.safe_load(YAML["prometheus.yml"])["scrape_configs"][0]
    probe = yaml.safe_load(YAML["probe.yml"])["readinessProbe"]["httpGet"]
    assert resolve(scrape["metrics_path"]).url_name == "metrics"
    assert resolve(probe["path"].partition("?")[0]).url_name == "readyz"
    pod = yaml.safe_load(YAML["deployment.yml"])["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > Options().grace
