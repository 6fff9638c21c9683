"""The `retrieval` section: what it takes and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from retrieval.config import RetrievalConfig


def test_every_field_has_a_default_and_a_description() -> None:
    assert RetrievalConfig().mode == "hybrid"
    assert all(field.description for field in RetrievalConfig.model_fields.values())


def test_sources_are_relative_to_the_project_file() -> None:
    config = RetrievalConfig.model_validate({"sources": ["docs"]}, context={"folder": "/project"})
    assert config.sources == [Path("/project/docs")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"uri": "milvus:19530"},
        {"mode": "sparse"},
        {"top_k": 0},
        {"chunk_tokens": 1},
        {"collection": "Help Desk"},
        {"collection": "a--b"},
        {"token": "secret"},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetrievalConfig.model_validate(wrong)


def test_the_package_is_imported_without_its_vendors() -> None:
    modules = "prompt config errors names schema local sources chunking embedding store indexing search"
    code = (
        f"import sys; [__import__('retrieval.' + name) for name in {modules.split()!r}]; "
        "print(sorted({'torch', 'pymilvus', 'grpc', 'sentence_transformers', 'markitdown', 'milvus_lite'} & "
        "set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
