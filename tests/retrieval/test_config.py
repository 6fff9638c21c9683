"""The `retrieval` section: what it takes and what it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from retrieval.config import RetrievalConfig
from retrieval.filters.rights import Attributes


def test_every_field_has_a_default_and_a_description() -> None:
    assert RetrievalConfig().mode == "hybrid"
    assert all(field.description for field in RetrievalConfig.model_fields.values())


def test_sources_are_relative_to_the_project_file() -> None:
    sources = ["docs", {"path": "hr", "tenant": "acme", "access": ["hr", "managers"], "metadata": {"year": 2024}}]
    config = RetrievalConfig.model_validate({"sources": sources}, context={"folder": "/project"})
    assert [source.path for source in config.sources] == [Path("/project/docs"), Path("/project/hr")]
    assert config.sources[0].attributes == Attributes()
    assert config.sources[1].attributes == Attributes("acme", ("hr", "managers"), {"year": 2024})


def test_the_kind_of_a_source_shows_in_its_key() -> None:
    sql = {"url": "sqlite:///help.db", "query": "SELECT 1", "id": "id", "text": "body"}
    sources = [
        "docs",
        "s3://bucket/docs/",
        {"path": "gs://bucket"},
        {"sql": sql, "name": "db"},
        {"sitemap": "http://h/s.xml"},
    ]
    config = RetrievalConfig.model_validate({"sources": sources}, context={"folder": "/project"})
    assert [type(source).__name__.removesuffix("Source") for source in config.sources] == [
        "Folder", "Object", "Object", "Sql", "Sitemap",
    ]  # fmt: skip
    assert [source.title for source in config.sources] == ["docs", "docs", "bucket", "db", "http://h"]
    again = RetrievalConfig(sources=list(config.sources))
    assert again.sources == config.sources
    for kind in map(type, config.sources):
        assert all(field.description for field in kind.model_fields.values())


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
        {"embedding_url": "host:8000/v1"},
        {"embedding_url": "http://host/v1", "embedding_workers": 2},
        {"embedding_tokenizer": "folder"},
        {"embedding_max_tokens": 512},
        {"embedding_gpus_per_worker": 1},
        {"embedding_workers": -1},
        {"embedding_api_key": "secret"},
        {"sources": "docs"},
        {"sources": [{"tenant": "acme"}]},
        {"sources": [{"path": "docs", "sitemap": "http://h/s.xml"}]},
        {"sources": [{"path": "docs", "poll_s": 5}]},
        {"sources": [{"path": "docs", "name": "a/b"}]},
        {"sources": [7]},
        {"sources": [{"path": "docs", "tennant": "acme"}]},
        {"sources": [{"path": "docs", "tenant": ""}]},
        {"sources": [{"path": "docs", "tenant": 7}]},
        {"sources": [{"path": "docs", "tenant": "a\0b"}]},
        {"sources": [{"path": "docs", "tenant": "\U00020bb7"}]},
        {"sources": [{"path": "docs", "access": "hr"}]},
        {"sources": [{"path": "docs", "access": [""]}]},
        {"sources": [{"path": "docs", "access": ["x" * 257]}]},
        {"sources": [{"path": "docs", "access": list("abcdefghi")}]},
        {"sources": [{"path": "docs", "metadata": {"Year": 2024}}]},
        {"sources": [{"path": "docs", "metadata": {"year": [2024]}}]},
        {"sources": [{"path": "docs", "metadata": {"year": None}}]},
        {"sources": [{"path": "docs", "metadata": {"year": float("nan")}}]},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetrievalConfig.model_validate(wrong)


def test_the_package_is_imported_without_its_vendors() -> None:
    modules = (
        "prompt config errors store.collection store.milvus_lite sources.sources index.chunking embedding.embedder "
    )
    modules += "embedding.endpoint embedding.workers store.store index.indexing search.search filters.filters "
    modules += "filters.filter_json filters.rights index.forgetting search.hits search.fusion search.passages "
    modules += "search.reranker search.live_engine search.live_query search.candidates search.selectivity"
    code = (
        f"import sys; [__import__('retrieval.' + name) for name in {modules.split()!r}]; "
        "print(sorted({'torch', 'ray', 'openai', 'pymilvus', 'grpc', 'sentence_transformers', 'markitdown', "
        "'milvus_lite'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
