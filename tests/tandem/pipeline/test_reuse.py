"""Which version of an adapter is reused: one that was trained on the rows as they are read today."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.fingerprints.digests import digest_json
from cluster.fingerprints.models import digest_model
from cluster.registry.registry import Registry
from tandem.compare.arm_training import Trainings
from tandem.console import Console
from tandem.pipeline.training import find_trained, read_rows
from tandem.project.project import Project, load
from training.publish.publish import fingerprint

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart"
QUESTION, ANSWER = {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ann."}
PLAIN = {"prompt": "Who?", "completion": "Ann."}
SPOKEN = {"messages": [QUESTION, ANSWER]}
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
READ_OTHERWISE: list[tuple[str, dict[str, Any]]] = [
    ("sft", {"messages": [QUESTION, {**ANSWER, "weight": 0}, QUESTION, ANSWER]}),
    ("sft", {**PLAIN, "system": "Be brief."}),
    ("sft", {**SPOKEN, "tools": [TOOL]}),
    ("sft", {**SPOKEN, "chat_template_kwargs": {"enable_thinking": False}}),
    ("sft", {"messages": [QUESTION, {**ANSWER, "reasoning_content": "I know her."}]}),
    ("kto", {**PLAIN, "label": False}),
]


def make_project(folder: Path, row: dict[str, Any], objective: str = "sft") -> Project:
    other = {**PLAIN, "label": True} if objective == "kto" else row
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(other) + "\n")
    settings = {"project": "demo", "model": str(QUICKSTART / "model"), "storage": "./runs",
                "training": {"data": "./rows.jsonl", "adapter": "demo", "objective": objective}}  # fmt: skip
    (folder / "tandem.yaml").write_text(json.dumps(settings))
    return load(folder / "tandem.yaml")


def publish(project: Project, folder: Path, digests: list[str] | None) -> None:
    """A version with the fingerprint of the project's training that was trained on rows with these digests."""
    files = folder / "files"
    files.mkdir(exist_ok=True)
    (files / "adapter_model.safetensors").write_bytes(b"weights")
    (files / "trained.jsonl").unlink(missing_ok=True)
    if digests is not None:
        (files / "trained.jsonl").write_text("".join(json.dumps({"sha256": each}) + "\n" for each in digests))
    base = digest_model(project.model)
    Registry.of(project.storage).publish(
        "demo", files, base_model=project.model, base_digest=base, method="lora", kind="adapter", rank=16,
        template_hash="t", prompt_hash=None, data_digest="d", metrics={},
        fingerprint=fingerprint(project.training, project.model, base, "auto"),
    )  # fmt: skip


@pytest.mark.parametrize(("objective", "row"), READ_OTHERWISE)
def test_a_version_whose_rows_are_read_differently_now_is_not_reused(
    tmp_path: Path, objective: str, row: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The digests are those of the release that read the same file without these keys."""
    project = make_project(tmp_path, row, objective)
    spoken = [{key: message[key] for key in ("role", "content")} for message in row.get("messages", [QUESTION, ANSWER])]
    publish(project, tmp_path, [digest_json(spoken)])
    assert find_trained(project, read_rows(project), Console()) is None
    assert "demo@1 was trained on rows that are read differently now: it is trained anew" in capsys.readouterr().err
    publish(project, tmp_path, [each.digest for each in read_rows(project).report.rows])
    found = find_trained(project, None)
    assert found is not None and found.version == 2


def test_a_version_on_plain_rows_of_an_earlier_release_is_reused(tmp_path: Path) -> None:
    project = make_project(tmp_path, PLAIN)
    publish(project, tmp_path, [digest_json([QUESTION, ANSWER])])
    publish(project, tmp_path, None)
    found = find_trained(project, read_rows(project))
    assert found is not None and found.version == 1


def test_rows_for_retrieval_are_made_anew_only_where_rows_may_have_been_read_differently(tmp_path: Path) -> None:
    project = make_project(tmp_path, PLAIN)
    plain = Trainings(project, "index", read_rows(project)).raft_rows.name
    assert plain == f"{digest_json([read_rows(project).digest, 'index', None, 0])[:16]}.jsonl"
    weighted = make_project(tmp_path, {"messages": [QUESTION, {**ANSWER, "weight": 0}, QUESTION, ANSWER]})
    rows = read_rows(weighted)
    unread = f"{digest_json([rows.digest, 'index', None, 0])[:16]}.jsonl"
    assert Trainings(weighted, "index", rows).raft_rows.name not in {plain, unread}
