"""The alert rules, and of an expression the metrics that it reads with the labels that it asks of each."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[2] / "k8s" / "base" / "monitoring" / "alerts.yaml"
METRIC = re.compile(r"\b((?:ray|kube|kubelet)_\w+)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"\s*(?:,|$)')


@dataclass(frozen=True)
class Read:
    """One metric in an expression."""

    name: str
    labels: frozenset[str]


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load(FILE.read_text())
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def reads(expression: str) -> list[Read]:
    """Every metric with the labels of its selector. Raises ValueError for a selector that is none."""
    found = []
    for name, selector in METRIC.findall(expression):
        if MATCHER.sub("", selector).strip():
            raise ValueError(f"{name}{{{selector}}}")
        found.append(Read(name, frozenset(MATCHER.findall(selector))))
    return found
