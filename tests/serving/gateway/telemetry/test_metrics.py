"""What Prometheus reads of the running app, and that dashboard and alerts ask for nothing else."""

import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.session import metrics_urls
from tests.serving.alert_rules import reads, rules
from tests.serving.served_app import ADAPTER, COLLECTION, Endpoint

pytestmark = pytest.mark.slow
DASHBOARD = Path(__file__).parents[4] / "k8s" / "base" / "monitoring" / "serving.json"
EXPORTED_AFTER_S = 30
FUNCTIONS = {"histogram_quantile", "sum", "rate", "avg", "by"}
LABELS = {"le", "model", "collection", "key", "status", "reason", "deployment", "WorkerId"}


def exported() -> str:
    (url,) = metrics_urls()
    return httpx.get(url, timeout=30).text


def test_everything_that_the_dashboard_shows_is_exported(endpoint: Endpoint) -> None:
    body = {"model": f"base:{ADAPTER}+{COLLECTION}", "messages": [{"role": "user", "content": "Iron?"}], "stream": True}
    httpx.post(f"{endpoint.url}/chat/completions", json=body | {"max_tokens": 8, "ignore_eos": True}, timeout=60)
    httpx.post(f"{endpoint.url}/chat/completions", json=body | {"max_tokens": -1}, timeout=60)
    refused = httpx.post(f"{endpoint.url}/chat/completions", json=body | {"model": "base+nowhere"}, timeout=60)
    assert refused.status_code == 404
    asked = set(re.findall(r"ray_\w+", DASHBOARD.read_text())) - {"ray_tandem_refusals_total"}
    deadline = time.monotonic() + EXPORTED_AFTER_S
    while missing := {name for name in asked if f"\n{name}{{" not in exported()}:
        assert time.monotonic() < deadline, missing
        time.sleep(1)
    lines = [line for line in exported().splitlines() if line.startswith("ray_tandem_requests_total{")]
    asked_of = (f'model="base:{ADAPTER}@1"', f'collection="{COLLECTION}"', 'key=""', 'status="200"')
    assert any(all(label in line for label in asked_of) for line in lines), lines
    assert not any("nowhere" in line for line in lines), "a name that anybody can send is no label"


def test_everything_that_an_alert_reads_is_exported_with_its_labels(endpoint: Endpoint) -> None:
    """A status or reason that nobody has seen yet has no series: names and labels are looked at, not values."""
    body = {"model": f"base+{COLLECTION}", "messages": [{"role": "user", "content": "Iron?"}], "stream": True}
    httpx.post(f"{endpoint.url}/chat/completions", json=body | {"max_tokens": 8, "ignore_eos": True}, timeout=60)
    asked = [one for rule in rules() for one in reads(rule["expr"]) if one.name.startswith("ray_")]
    asked = [one for one in asked if one.name != "ray_tandem_refusals_total"]  # counted once somebody was refused
    assert len(asked) >= 8
    deadline = time.monotonic() + EXPORTED_AFTER_S
    while missing := [one for one in asked if not is_exported(one.name, one.labels)]:
        assert time.monotonic() < deadline, missing
        time.sleep(1)


def is_exported(name: str, labels: frozenset[str]) -> bool:
    series = re.findall(rf"^{name}\{{(.*)\}} ", exported(), re.MULTILINE)
    return any(all(f'{label}="' in one for label in labels) for one in series)


def test_the_dashboards_queries_are_of_known_functions_and_labels() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) >= 10
    for query in queries:
        assert query.count("(") == query.count(")")
        words = set(re.findall(r"[A-Za-z_]+", re.sub(r"\[\$__rate_interval\]|\b0\.\d+", "", query)))
        assert {word for word in words if not word.startswith("ray_")} <= FUNCTIONS | LABELS, query
