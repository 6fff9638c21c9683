"""The guides of operations: every command of ours parses, every link leads somewhere, and a restore gives all back."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from tandem.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GUIDES = ("capacity.md", "operations.md", "runbooks.md")
LINK = re.compile(r"\]\(([^)\s]+)\)")
RUN = re.compile(r"<!-- run: (\w+) -->\n```\n(.*?)```", re.DOTALL)
each_guide = pytest.mark.parametrize("guide", GUIDES)


def commands(text: str) -> Iterator[list[str]]:
    """Words of every `tandem ...` in a block or in code of a line, without the program's name."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`(tandem [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in [*inline, *(line for block in blocks for line in block.replace("\\\n", " ").splitlines())]:
        line = line.strip()
        if line.startswith("tandem "):
            yield shlex.split(line, comments=True)[1:]


def parse(words: list[str]) -> None:
    """By the command's own parser, without running anything. Raises click's errors."""
    command, context = get_command(app), None
    while hasattr(command, "commands"):
        context = command.make_context(command.name, list(words), parent=context)
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(command.name, list(words), parent=context)


@each_guide
def test_every_command_parses(guide: str) -> None:
    found = list(commands((DOCS / guide).read_text()))
    assert found
    for words in found:
        parse(words)


@pytest.mark.parametrize("words", [["serv"], ["adapters", "remove", "x"], ["plan-serve", "--fast"], ["ask"]])
def test_a_command_that_does_not_exist_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|[Mm]issing"):
        parse(words)


@each_guide
def test_every_link_leads_somewhere(guide: str) -> None:
    for link in LINK.findall((DOCS / guide).read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (DOCS / path).resolve() if path else DOCS / guide
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}, link


@pytest.mark.slow
@pytest.mark.matrix
def test_a_backup_restores_versions_keys_and_documents(tmp_path: Path) -> None:
    """The blocks of docs/operations.md as they stand there."""
    blocks = dict(RUN.findall((DOCS / "operations.md").read_text()))
    project(tmp_path)
    run(tmp_path, "tandem index && tandem keys create support --model base")
    publish(tmp_path / "runs")
    known = run(tmp_path, "tandem keys list").split()[-1]
    before = kept(tmp_path)
    assert "can be read" in run(tmp_path, blocks["backup"])
    shutil.rmtree(tmp_path / "runs")
    assert known not in run(tmp_path, "tandem keys list")
    run(tmp_path, blocks["restore"])
    assert kept(tmp_path) == before
    assert "number of Iron" in run(tmp_path, blocks["check"])


def kept(folder: Path) -> list[str]:
    """What three commands say, but for the times of a search."""
    told = [run(folder, f"tandem {what}") for what in ("adapters list", "keys list", "search 'atomic number'")]
    return [re.sub(r"\(took .*\)", "", one) for one in told]


def project(folder: Path) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "iron.md").write_text("# Iron\n\nThe atomic number of Iron is 26.\n")
    model = ROOT / "examples" / "quickstart" / "model"
    (folder / "tandem.yaml").write_text(
        f"project: p\nmodel: {model}\nstorage: runs\nretrieval: {{sources: [docs]}}\nserving: {{port: 18231}}\n"
    )


def publish(storage: Path) -> None:
    """A version; its weights are not looked at here."""
    from cluster.registry.registry import Registry
    from cluster.storage.storage import Storage

    files = storage.parent / "files"
    files.mkdir()
    (files / "adapter_model.safetensors").write_bytes(b"weights")
    fields = {"base_model": "m", "base_digest": "d", "method": "lora", "rank": 8, "template_hash": "t",
              "prompt_hash": None, "data_digest": "", "fingerprint": "", "metrics": {}}  # fmt: skip
    Registry(Storage(storage).adapters).publish("support", files, **fields)


def run(folder: Path, commands: str) -> str:
    """Standard output of commands of a shell in which `tandem` is ours."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "tandem"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tandem "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "COLUMNS": "200",
        "STORAGE": str(folder / "runs"), "BACKUP": str(folder / "backup.tar.gz"),
    }  # fmt: skip
    done = subprocess.run(["sh", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
