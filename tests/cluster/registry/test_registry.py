"""Published versions are whole, immutable and never numbered twice."""

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from cluster.registry.registry import Registry, UnknownAdapter

FIELDS: dict[str, Any] = {
    "base_model": "m", "base_digest": "b", "method": "lora", "rank": 8, "template_hash": "t", "prompt_hash": None,
    "data_digest": "d", "fingerprint": "f", "metrics": {"loss": 0.5},
}  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "adapters")


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def test_a_version_is_found_by_number_alias_and_fingerprint(registry: Registry, staging: Path) -> None:
    first = registry.publish("support", staging, **FIELDS)
    second = registry.publish("support", staging, **{**FIELDS, "fingerprint": "g"})
    assert (first.version, second.version) == (1, 2)
    assert registry.resolve("support").version == 2
    assert registry.resolve("support", "1").manifest == first.manifest
    assert registry.find("support", "f") == [first]
    assert registry.find("support", "unknown") == []
    registry.promote("support", 1)
    assert registry.resolve("support").version == 1


def test_learnt_ends_are_in_a_manifest_only_where_there_are_some(registry: Registry, staging: Path) -> None:
    """An earlier version of Tandem refuses a manifest with a field that it does not know."""
    plain, ending = (
        registry.publish("support", staging, **FIELDS),
        registry.publish("support", staging, stop_token_ids=(7, 9), **FIELDS),
    )
    assert "stop_token_ids" not in json.loads((plain.path / "manifest.json").read_text())
    assert [registry.get("support", number).manifest.stop_token_ids for number in (1, 2)] == [(), (7, 9)]
    assert ending.manifest == registry.resolve("support").manifest


def test_a_version_that_failed_its_check_does_not_go_live(registry: Registry, staging: Path) -> None:
    for _ in range(2):
        registry.publish("support", staging, promote=False, **FIELDS)
    assert registry.check_of("support", 1) is None
    with pytest.raises(UnknownAdapter):
        registry.resolve("support")
    found = {"num_rows": 2, "num_tokens": 9, "max_difference": 0.4, "tolerance": 0.05}
    assert registry.record_check("support", 1, mean_difference=0.01, **found).passed
    registry.record_check("support", 2, mean_difference=0.2, **found)
    registry.promote("support", 1)
    with pytest.raises(TandemError, match="support@2 is not served as it was trained"):
        registry.promote("support", 2)
    assert registry.resolve("support").version == 1
    assert registry.check_of("support", 2).mean_difference == 0.2
    assert [version.version for version in registry.versions("support")] == [1, 2]


def test_concurrent_publishers_never_share_a_number(registry: Registry, staging: Path) -> None:
    published: list[int] = []
    threads = [
        threading.Thread(target=lambda: published.append(registry.publish("support", staging, **FIELDS).version))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(published) == list(range(1, 13))


def test_a_folder_without_a_manifest_is_no_version(registry: Registry, staging: Path) -> None:
    registry.publish("support", staging, **FIELDS)
    (registry.root / "support" / "v2").mkdir()
    assert [found.version for found in registry.versions("support")] == [1]
    assert registry.publish("support", staging, **FIELDS).version == 3


def test_another_content_has_another_engine_id(registry: Registry, staging: Path) -> None:
    first = registry.publish("support", staging, **FIELDS)
    (staging / "adapter_model.safetensors").write_bytes(b"other")
    second = registry.publish("support", staging, **FIELDS)
    assert first.engine_id.split(".")[2] != second.engine_id.split(".")[2]


@pytest.mark.parametrize("name", ["../support", "support/..", "", "Support", "a.b", "x" * 64])
def test_a_name_cannot_leave_the_registry(registry: Registry, staging: Path, name: str) -> None:
    with pytest.raises(TandemError):
        registry.publish(name, staging, **FIELDS)
    with pytest.raises(UnknownAdapter):
        registry.resolve(name)


def test_unknown_versions_say_what_there_is(registry: Registry, staging: Path) -> None:
    registry.publish("support", staging, **FIELDS)
    with pytest.raises(UnknownAdapter, match="Versions of support: 1"):
        registry.resolve("support", "7")
    with pytest.raises(UnknownAdapter, match="Known adapters: support"):
        registry.resolve("helpdesk")


def test_a_manifest_without_a_kind_is_an_adapters(registry: Registry, staging: Path) -> None:
    path = registry.publish("support", staging, **FIELDS, kind="merged").path / "manifest.json"
    assert registry.resolve("support").manifest.kind == "merged"
    manifest = json.loads(path.read_text())
    del manifest["kind"]
    path.write_text(json.dumps(manifest))
    assert registry.resolve("support").manifest.kind == "adapter"


def test_settings_of_the_template_are_in_the_manifest_where_there_are_some(registry: Registry, staging: Path) -> None:
    settings = {"enable_thinking": False}
    for given in ({}, settings):
        version = registry.publish("support", staging, **FIELDS, chat_template_kwargs=given)
        written = json.loads((version.path / "manifest.json").read_text())
        assert written.get("chat_template_kwargs") == (given or None)
        assert registry.get("support", version.version).manifest.chat_template_kwargs == given


def test_the_manifest_holds_what_it_was_made_with(registry: Registry, staging: Path) -> None:
    path = registry.publish("support", staging, **FIELDS).path / "manifest.json"
    manifest = json.loads(path.read_text())
    assert manifest["schema_version"] == 1
    assert manifest["versions"]["python"]
    assert len(manifest["content_digest"]) == 64


def test_a_split_gives_each_caller_the_same_version_and_all_together_the_shares(
    registry: Registry, staging: Path
) -> None:
    for _ in range(3):
        registry.publish("support", staging, **FIELDS)
    registry.split("support", {1: 90, 3: 10})
    callers = [f"caller {number}" for number in range(2000)]

    def versions() -> list[int]:
        return [registry.resolve("support", caller=caller).version for caller in callers]

    first = versions()
    assert first == versions() and set(first) == {1, 3}
    assert 140 < first.count(3) < 260, "10 % of 2000, within 4.5 deviations"
    assert registry.resolve("support").version == 1, "without a caller it is the largest share"
    registry.split("support", {1: 50, 3: 50})
    assert all(now == 3 for now, before in zip(versions(), first, strict=True) if before == 3)
    registry.promote("support", 3)
    assert set(versions()) == {3} and registry.shares("support") == {3: 1}


def test_a_split_over_what_cannot_be_served_is_refused(registry: Registry, staging: Path) -> None:
    registry.publish("support", staging, **FIELDS)
    for shares in ({}, {1: 0}, {1: 90, 2: 10}):
        with pytest.raises(TandemError):
            registry.split("support", shares)
    registry.publish("support", staging, promote=False, **FIELDS)
    found = {"num_rows": 2, "num_tokens": 9, "max_difference": 0.4, "tolerance": 0.05, "mean_difference": 0.1}
    registry.record_check("support", 2, **found)
    with pytest.raises(TandemError, match="not served as it was trained"):
        registry.split("support", {1: 90, 2: 10})
    assert registry.shares("support") == {1: 1}


PASSED, FAILED = {"name": "overall", "passed": True, "seen": "+0.10"}, {
    "name": "slice form", "passed": False, "seen": "-0.20 (-0.30 to -0.10) against the live version.",
}  # fmt: skip


UNDECIDED = {"name": "overall", "passed": False, "outcome": "undecided", "holds": True, "seen": "-0.02."}


@pytest.fixture
def gated(registry: Registry, staging: Path) -> Registry:
    """Version 1 is live; version 2 failed a gate."""
    registry.publish("support", staging, **FIELDS)
    registry.publish("support", staging, promote=False, **FIELDS)
    registry.record_gates("support", 2, [PASSED, FAILED], run="run0")
    return registry


def test_a_version_that_failed_a_gate_does_not_go_live(gated: Registry) -> None:
    for attempt in (lambda: gated.promote("support", 2), lambda: gated.split("support", {1: 90, 2: 10})):
        with pytest.raises(TandemError, match=r"support@2 failed 1 of 2 gates\. slice form: -0\.20") as raised:
            attempt()
        assert "--despite" in raised.value.remedy and "overall" not in raised.value.seen
    for blank in ("", "  "):
        with pytest.raises(TandemError, match="is empty"):
            gated.promote("support", 2, despite=blank)
    assert gated.resolve("support").version == 1
    assert gated.gates_of("support", 2).despite == []
    assert gated.gates_of("support", 1) is None


def test_with_a_reason_it_does_and_the_reason_is_kept(gated: Registry) -> None:
    manifest = (gated.root / "support" / "v2" / "manifest.json").read_bytes()
    gated.promote("support", 2, despite=" The form is not used any more. ")
    assert gated.resolve("support").version == 2
    gated.record_gates("support", 2, [PASSED], run="run1")
    check = gated.gates_of("support", 2)
    assert check is not None and (check.run, check.failed) == ("run1", [])
    assert [(each.reason, each.failed) for each in check.despite] == [
        ("The form is not used any more.", ["slice form"])
    ]
    assert (gated.root / "support" / "v2" / "manifest.json").read_bytes() == manifest


def test_what_was_live_before_can_always_come_back(gated: Registry, staging: Path) -> None:
    gated.promote("support", 2, despite="a trial")
    gated.publish("support", staging, **FIELDS)
    assert gated.before("support") == {1, 2, 3}
    gated.record_gates("support", 1, [FAILED])
    found = {"num_rows": 2, "num_tokens": 9, "max_difference": 0.4, "tolerance": 0.05, "mean_difference": 0.1}
    gated.record_check("support", 1, **found)
    for version in (2, 1, 3):
        gated.promote("support", version)
        assert gated.shares("support") == {version: 1}
    assert len(gated.gates_of("support", 2).despite) == 1


def test_a_record_of_the_version_before_is_read_as_it_stands(gated: Registry) -> None:
    """Gates are named by slices, not by arms: a slice may be called as an arm once was."""
    path = gated.root / "support" / "checks" / "v2-gates.json"
    path.write_text(path.read_text().replace('"slice form"', '"slice hybrid"'))
    check = gated.gates_of("support", 2)
    assert check is not None and [gate.name for gate in check.failed] == ["slice hybrid"]


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ([PASSED, UNDECIDED], r"^1 of 2 gates had not enough questions to tell about support@2\. overall: -0\.02\.$"),
        ([FAILED, UNDECIDED], r"^support@2 failed 1 of 2 gates\. slice form: -0\.20.* 1 of 2 gates had not enough"),
    ],
)
def test_undecided_gates_hold_a_version_where_the_settings_said_so(
    gated: Registry, gates: list[dict[str, Any]], words: str
) -> None:
    gated.record_gates("support", 2, gates)
    with pytest.raises(TandemError) as raised:
        gated.promote("support", 2)
    assert re.search(words, raised.value.seen) and "add questions" in raised.value.remedy
    gated.promote("support", 2, despite="a trial")
    check = gated.gates_of("support", 2)
    assert check is not None and check.despite[0].failed == [gate["name"] for gate in gates if not gate["passed"]]


def test_undecided_gates_that_do_not_hold_need_no_reason(gated: Registry) -> None:
    gated.record_gates("support", 2, [PASSED, UNDECIDED | {"holds": False}])
    gated.promote("support", 2)
    check = gated.gates_of("support", 2)
    assert check is not None and [gate.name for gate in check.undecided] == ["overall"] and check.failed == []


def test_passed_gates_need_no_reason(gated: Registry) -> None:
    gated.record_gates("support", 2, [PASSED])
    gated.promote("support", 2, despite="to be safe")
    assert gated.resolve("support").version == 2 and gated.gates_of("support", 2).despite == []
    with pytest.raises(UnknownAdapter):
        gated.record_gates("support", 9, [PASSED])
