"""The Dockerfile, read as text: no image can be built where the tests run. Its steps are the set-up script's."""

import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.requirements.test_setup import LOCKS, ROOT, checkout, setup

__all__ = ["checkout"]
DOCKERFILE = ROOT / "Dockerfile"
TARGETS = ("cpu", "gpu")


def instructions() -> list[tuple[str, str]]:
    """Instruction and its words, with continued lines as one and comments left out."""
    text = re.sub(r"\\\n", " ", "\n".join(one for one in DOCKERFILE.read_text().splitlines() if one[:1] != "#"))
    return [
        (name, " ".join(words.split())) for name, _, words in (one.partition(" ") for one in text.splitlines() if one)
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage by its name; the first is FROM."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, words in instructions():
        if name == "FROM":
            stage = words.split()[-1]
            found[stage] = []
        found[stage].append((name, words))
    return found


def whole(target: str) -> list[tuple[str, str]]:
    """The instructions of a target with those of the stages that it is built on."""
    base = stages()[target][0][1].split()[0]
    return [*(whole(base) if base in stages() else []), *stages()[target]]


def test_the_base_image_has_an_exact_tag() -> None:
    (base,) = {words.split()[0] for name, words in instructions() if name == "FROM"} - set(stages())
    assert re.fullmatch(r"python:3\.11\.\d+-[a-z]+-[a-z]+|.+@sha256:[0-9a-f]{64}", base), base
    assert "latest" not in DOCKERFILE.read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_somebody_and_says_how_it_is(target: str) -> None:
    listed = whole(target)
    assert [words for name, words in listed if name == "USER"] == ["1000:1000"]
    last_run = max(index for index, (name, _) in enumerate(listed) if name in ("RUN", "COPY"))
    assert listed.index(("USER", "1000:1000")) > last_run, "nothing that the user could write is run from"
    assert any(name == "HEALTHCHECK" and "cluster.health" in words for name, words in listed)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_installed_is_the_lock_and_nothing_else(target: str) -> None:
    runs = [words for name, words in whole(target) if name == "RUN"]
    assert f"PACKAGES_ONLY=1 requirements/setup.sh {target}" in runs
    assert any(words.startswith(f"requirements/setup.sh {target}") for words in runs)
    assert not [words for words in runs if re.search(r"\b(pip|uv|conda|curl|wget)\b", words)]


@pytest.mark.parametrize("target", TARGETS)
def test_the_layer_of_packages_changes_with_the_lock_only(target: str) -> None:
    listed = whole(target)
    install = listed.index(("RUN", f"PACKAGES_ONLY=1 requirements/setup.sh {target}"))
    copied = [source for name, words in listed[:install] if name == "COPY" for source in words.split()[:-1]]
    assert sorted(copied) == ["README.md", "pyproject.toml", f"requirements/{target}.txt", "requirements/setup.sh"]
    assert all((ROOT / source).exists() for source in copied)


def test_secrets_runs_and_history_stay_out_and_the_examples_model_goes_in() -> None:
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"}
    assert {".git", "runs", "**/runs", ".venv*", ".env", "**/*.pem", "**/*.key", "tests", "k8s"} <= ignored
    shipped = ["examples/quickstart/model/tokenizer.json", "serving/gateway/static/index.html", "requirements/setup.sh"]
    for path in shipped:
        assert (ROOT / path).is_file()
        assert not [one for one in ignored if Path(path).match(one.replace("**/", "")) or path.startswith(f"{one}/")]


def test_the_packages_can_be_installed_before_our_code_is_there(checkout: Path) -> None:
    """The first step of the image, with pip replaced by one that notes what it is asked for."""
    note = checkout / "asked"
    (checkout / "python3.11").write_text(
        f"#!{shutil.which('bash')}\n"
        'case "$*" in *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;;\n'
        f'*"-m pip"*) echo "$*" >>{note};; esac\n'
    )
    (checkout / "python3.11").chmod(0o755)
    done = setup(checkout, "cpu", PACKAGES_ONLY="1", PYTHON=str(checkout / "python3.11"))
    assert done.returncode == 0, done.stderr
    assert "--editable" not in note.read_text() and "-r " in note.read_text()
    assert (checkout / ".venv" / ".tandem-cpu").read_text().startswith("packages-")
    again = setup(checkout, "cpu", PYTHON=str(checkout / "python3.11"))
    assert again.returncode == 0 and "--editable ." in note.read_text()
    assert "torch" in LOCKS["cpu"]


class Endpoint(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 0)])
def test_the_health_check(status: int | None, code: int) -> None:
    """An endpoint that answers, one that does not, and a container that serves nothing."""
    with HTTPServer(("127.0.0.1", 0), type("Served", (Endpoint,), {"status": status})) as server:
        url = f"http://127.0.0.1:{server.server_port}/-/healthz"
        if status is None:
            server.server_close()
        else:
            Thread(target=server.handle_request, daemon=True).start()
        done = subprocess.run([sys.executable, "-m", "cluster.health", url], cwd=ROOT, timeout=60)
    assert done.returncode == code
