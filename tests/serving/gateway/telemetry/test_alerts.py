"""The alert rules: well formed, of known functions and metrics, each with a section in the runbooks."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.serving.alert_rules import reads, rules

ROOT = Path(__file__).parents[4]
NAMES = (
    "EndpointDown", "EngineNotReady", "HighTimeToFirstToken", "Overloaded", "Errors", "RetrievalSlow",
    "RetrievalFailing", "GPUMemoryFull", "TrainingFailed", "IndexStale", "StorageFull", "RayNodeLost", "BackupFailed",
)  # fmt: skip
# Exported by kube-state-metrics and the kubelet, which do not run here (kube-state-metrics' docs/metrics/workload;
# kubelet: pkg/kubelet/metrics/collectors/volume_stats.go). ray_* are held against a running app in test_metrics.py.
OF_KUBERNETES = {
    "kube_job_status_failed": {"namespace", "job_name"},
    "kube_cronjob_status_last_successful_time": {"namespace", "cronjob"},
    "kubelet_volume_stats_available_bytes": {"namespace", "persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"namespace", "persistentvolumeclaim"},
}
FUNCTIONS = {"absent", "rate", "sum", "max", "min", "avg", "count", "histogram_quantile", "time"}
WORDS = {"by", "or", "unless", "offset"}
DURATION = re.compile(r"\[\d+[smhd]\]|\boffset \d+[smhd]\b")
each_rule = pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))


def test_the_alerts_are_those_that_were_agreed_on() -> None:
    assert sorted(rule["alert"] for rule in rules()) == sorted(f"Tandem{name}" for name in NAMES)


@each_rule
def test_an_expression_is_of_known_functions_and_metrics(rule: dict[str, Any]) -> None:
    expression = rule["expr"]
    assert expression.count("(") == expression.count(")")
    read = reads(expression)
    assert read
    for one in read:
        if not one.name.startswith("ray_"):
            assert one.labels <= OF_KUBERNETES[one.name], one
    bare = DURATION.sub(" ", re.sub(r"\{[^}]*\}", " ", expression))
    bare = re.sub(r"\bby \([^)]*\)", " by ", bare)
    words = set(re.findall(r"[A-Za-z_]\w*", bare)) - {one.name for one in read}
    assert words <= FUNCTIONS | WORDS, words - FUNCTIONS - WORDS
    called = set(re.findall(r"([a-z_]+)\s*(?:by\s*)?\(", bare)) - WORDS
    assert called <= FUNCTIONS, called


@each_rule
def test_a_counter_is_read_by_its_rate(rule: dict[str, Any]) -> None:
    for name in re.findall(r"ray_\w+_(?:total|bucket)", rule["expr"]):
        for before in re.findall(rf"(\w+)\({name}", rule["expr"]):
            assert before == "rate"


@each_rule
def test_a_reason_is_one_that_the_endpoint_gives(rule: dict[str, Any]) -> None:
    source = "".join(path.read_text() for path in (ROOT / "serving").rglob("*.py"))
    for reason in re.findall(r'reason="(\w+)"', rule["expr"]):
        assert f'"{reason}"' in source


@each_rule
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    notes = rule["annotations"]
    assert notes["summary"].endswith(".")
    path, _, anchor = notes["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    headings = re.findall(r"^## (\w+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert rule["alert"] in headings


def test_every_runbook_has_an_alert() -> None:
    headings = re.findall(r"^## (Tandem\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in rules()]


@pytest.mark.parametrize("broken", ['ray_x{a="b" c="d"}', "ray_x{a=b}", "ray_x{=}"])
def test_a_selector_that_is_none_is_found(broken: str) -> None:
    with pytest.raises(ValueError, match="ray_x"):
        reads(broken)
