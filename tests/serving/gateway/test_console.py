"""The console's files and what they ask for, over HTTP. How the page behaves in a browser is not tested here."""

import re
from pathlib import Path

import httpx
import pytest

from cluster.registry.registry import Registry
from cluster.storage.storage import Storage
from serving.access.keys import Key, Keys
from serving.api.errors import ApiError
from serving.gateway.console import STATIC_FILES, STATIC_FOLDER, last_report, list_adapter_versions
from tests.serving.served_app import ADAPTER, COLLECTION, Endpoint, publish


def key(tmp_path: Path, **allowed: tuple[str, ...]) -> Key:
    return Keys(tmp_path / "keys").create("t", **allowed)[0]


def test_a_key_sees_the_adapters_that_it_may_use(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "adapter_config.json").write_text('{"r": 8}')
    storage = Storage(tmp_path)
    for name in ("support", "sales", "support"):
        publish(storage, name, files)
    registry = Registry(storage.adapters)
    registry.split("support", {1: 25, 2: 75})
    everything = list_adapter_versions(registry, ["base"], None)
    assert [(one["name"], one["version"], one["share"]) for one in everything] == [
        ("sales", 1, 100.0), ("support", 2, 75.0), ("support", 1, 25.0),
    ]  # fmt: skip
    mine = list_adapter_versions(registry, ["base"], key(tmp_path, models=("base:sales",)))
    assert [one["name"] for one in mine] == ["sales"]


def test_the_newest_report_is_for_keys_that_may_see_everything(tmp_path: Path) -> None:
    with pytest.raises(ApiError) as missing:
        last_report(tmp_path, None)
    assert missing.value.status == 404
    for number, name in enumerate(("a", "b")):
        report = tmp_path / "small" / f"compare-{name}" / "report.json"
        report.parent.mkdir(parents=True)
        report.write_text(f'{{"run": "{number}"}}')
    assert last_report(tmp_path, None) == last_report(tmp_path, key(tmp_path)) == b'{"run": "1"}'
    for allowed in ({"models": ("base",)}, {"collections": ("docs",)}):
        with pytest.raises(ApiError) as refused:
            last_report(tmp_path, key(tmp_path, **allowed))
        assert refused.value.status == 403


def test_the_page_loads_nothing_from_elsewhere_and_sets_no_html() -> None:
    texts = {name: (STATIC_FOLDER / name).read_text() for name in STATIC_FILES.values()}
    assert not re.search(r"https?://|//\w", re.sub(r"^\s*//.*$", "", "".join(texts.values()), flags=re.MULTILINE))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", texts["console.js"])
    assert " style=" not in texts["index.html"] and "onclick" not in texts["index.html"]


def test_everything_that_the_script_looks_for_is_on_the_page() -> None:
    page, script = ((STATIC_FOLDER / name).read_text() for name in ("index.html", "console.js"))
    assert set(re.findall(r'at\("([a-z]+)"\)', script)) <= set(re.findall(r'id="([a-z]+)"', page))


@pytest.mark.slow
def test_the_page_and_what_it_asks_for_are_served(endpoint: Endpoint) -> None:
    for path in STATIC_FILES:
        answer = httpx.get(f"{endpoint.root}{path}")
        assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
    assert httpx.get(f"{endpoint.root}/").headers["content-type"].startswith("text/html")
    listed = httpx.get(f"{endpoint.url}/adapters").json()["adapters"]
    assert ADAPTER in {one["name"] for one in listed}
    assert httpx.get(f"{endpoint.url}/report").status_code == 404
    body = {
        "model": f"base+{COLLECTION}", "messages": [{"role": "user", "content": "Iron?"}], "max_tokens": 2,
        "retrieval": {"return_passages": True},
    }  # fmt: skip
    answer = httpx.post(f"{endpoint.url}/chat/completions", json=body, timeout=60)
    assert "The atomic number of Iron is 26." in answer.json()["citations"][0]["text"]
