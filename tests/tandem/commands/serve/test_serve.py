"""`tandem serve --check`, `--write-config`, and `tandem adapters split`: the endpoint before anything is started."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.registry.registry import Registry
from cluster.storage.storage import Storage
from tests.serving.served_app import publish
from tests.tandem.test_command import MODEL, project, refused, replace, tandem

__all__ = ["project"]


@pytest.fixture
def adapter(project: Path) -> Registry:
    """Two versions of `support`, of which the second has a rank that is not served."""
    files = project / "files"
    files.mkdir()
    (files / "adapter_config.json").write_text(json.dumps({"r": 8}))
    storage = Storage(project / "runs")
    publish(storage, "support", files)
    publish(storage, "support", files, rank=256)
    return Registry(storage.adapters)


def test_what_would_start_is_told_line_by_line(project: Path, adapter: Registry) -> None:
    replace(project, "retrieval: {sources: [docs]}", "retrieval: {sources: []}")
    done = tandem(project, "serve", "--check")
    assert done.returncode == 0, done.stderr
    assert f"base is {MODEL}" in done.stderr
    assert "base:support is refused: The adapter support@2 is refused: its rank is 256" in done.stderr
    assert "no API key: this machine alone may ask" in done.stderr and "no documents are served" in done.stderr
    adapter.promote("support", 1)
    assert "base:support is support@1" in tandem(project, "serve", "--check").stderr


@pytest.mark.slow
def test_the_collection_is_looked_at_too(project: Path) -> None:
    assert "collections: none yet, see `tandem index`" in tandem(project, "serve", "--check").stderr
    assert tandem(project, "index").returncode == 0
    assert "collections: small" in tandem(project, "serve", "--check").stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("engine_kwargs: {max_num_seq: 3}", "max_num_seqs"),
        ("preload: [nobody]", "There is no adapter 'nobody'"),
    ],
)
def test_what_would_not_start_is_refused(project: Path, setting: str, said: str) -> None:
    replace(project, "serving: {", f"serving: {{{setting}, ")
    assert said in refused(tandem(project, "serve", "--check"))


def test_a_file_for_serve_deploy_is_written(project: Path) -> None:
    assert "The document store is `local`" in refused(tandem(project, "serve", "--write-config", "serve.yaml"))
    assert not (project / "serve.yaml").exists()
    replace(project, "sources: [docs]", "sources: [docs], uri: 'http://milvus:19530'")
    assert tandem(project, "serve", "--write-config", "serve.yaml").returncode == 0
    written: dict[str, Any] = yaml.safe_load((project / "serve.yaml").read_text())
    (application,) = written["applications"]
    assert application["args"] == {"project": str(project / "tandem.yaml")}
    module, _, name = application["import_path"].partition(":")
    assert (module, name) == ("tandem.deployment", "build") and written["proxy_location"] == "Disabled"


def test_an_adapter_is_split_and_listed_with_its_shares(project: Path, adapter: Registry) -> None:
    done = tandem(project, "adapters", "split", "support", "1=3", "2=1")
    assert "support is split over its callers: @1 75 %, @2 25 %." in done.stdout
    listed = tandem(project, "adapters", "list").stdout
    assert "live 75%" in listed and "live 25%" in listed
    assert adapter.shares("support") == {1: 3, 2: 1}
    for wrong in ("7", "1=x", "1=0", "9=1"):
        refused(tandem(project, "adapters", "split", "support", wrong))
    assert adapter.shares("support") == {1: 3, 2: 1}
