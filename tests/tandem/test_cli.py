"""The command's table of verbs: it says what the verbs say, in the order of use, and loads only what is called."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cluster.jobs.wheel import package_version
from tandem.cli import PANELS, Verb, app, load_verb

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "vllm", "deepspeed", "pymilvus", "transformers", "sentence_transformers")


def verbs() -> Iterator[Verb]:
    """Every verb at any depth, groups too."""
    waiting = [verb for panel in PANELS.values() for verb in panel]
    while waiting:
        verb = waiting.pop(0)
        waiting += verb.verbs
        yield verb


@pytest.mark.parametrize("verb", list(verbs()), ids=lambda verb: f"{verb.function or verb.name}")
def test_a_verb_loads_and_its_own_help_says_first_what_the_table_says(verb: Verb) -> None:
    command = load_verb(verb)
    assert command.name == verb.name
    assert " ".join((command.help or "").split("\n\n")[0].split()) == verb.help
    assert verb.help[0].isupper() and verb.help.endswith(".")
    for option in command.params:
        assert getattr(option, "help", None), f"{verb.name} {option.name} has no help"


def test_help_is_in_the_order_of_use() -> None:
    order = {panel: [verb.name for verb in verbs] for panel, verbs in PANELS.items()}
    assert order == {
        "Start": ["init", "ask", "demo", "doctor"],
        "Data": ["data", "questions", "index", "search", "forget"],
        "Train": ["plan", "train", "export"],
        "Serve": ["serve", "plan-serve", "mcp", "keys", "adapters"],
        "Compare": ["compare"],
        "Cluster": ["jobs", "render"],
    }
    shown = CliRunner().invoke(app, ["--help"]).stdout
    places = [shown.index(f" {panel} ─") for panel in order]
    assert places == sorted(places)
    listed = [line.split()[1] for line in shown[places[0] :].splitlines() if line.startswith("│ ")]
    assert [name for name in listed if name in get_command(app).commands] == [  # type: ignore[attr-defined]
        name for names in order.values() for name in names
    ]


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["search", "--help"], ["render", "--help"], ["plan", "-"]]
)
def test_only_the_verb_that_is_called_is_loaded(words: list[str]) -> None:
    code = f"""
import json, sys
from tandem.cli import main
sys.argv = ["tandem", *{words}]
try:
    main()
finally:
    print(json.dumps([m for m in sys.modules if m.startswith("tandem.commands.") or m in {HEAVY}]))
"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()[-1]
    called = {"tandem.commands.options", "tandem.commands.train", "tandem.commands.train.plan"}
    assert set(json.loads(loaded)) == (called if words[0] == "plan" else set())


def test_no_verb_loads_something_heavy_before_it_runs() -> None:
    """A session sets Ray's environment before Ray is imported, and `--help` of a verb waits for no PyTorch."""
    code = f"""
import sys
from tandem.cli import load_verb
from tests.tandem.test_cli import verbs
for verb in verbs():
    load_verb(verb)
print([m for m in {HEAVY} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"tandem {package_version()}\n"


@pytest.mark.parametrize("words", [["open?"], ["--top-k", "3", "open?"], ["for", "open?", "--top-k", "3"]])
def test_a_search_needs_no_verb(words: list[str]) -> None:
    group = load_verb(next(verb for verb in PANELS["Data"] if verb.name == "search"))
    with group.make_context("search", list(words)) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])  # type: ignore
    with command.make_context(name, rest, parent=context) as verb:
        assert name == "for" and verb.params["question"] == "open?"
