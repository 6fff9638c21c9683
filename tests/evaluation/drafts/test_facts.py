"""What questions are made of a document, and what is left alone."""

from pathlib import Path

import pytest

from evaluation.drafts.documents import DraftDocument
from evaluation.drafts.facts import Fact, find_facts, name_documents
from evaluation.drafts.markdown import read_outline


def facts_of(text: str, source: str = "boats.md") -> list[Fact]:
    document = DraftDocument(source, Path(source), text)
    outline = read_outline(text)
    found = find_facts(document, outline, name_documents({source: outline})[source])
    assert all(text[each.start : each.start + len(each.value)] == each.value for each in found)
    return found


def asked(text: str, source: str = "boats.md") -> list[tuple[str, str]]:
    return [(fact.question, fact.value) for fact in facts_of(text, source)]


def test_a_table_of_settings_is_asked_by_row_and_column() -> None:
    text = (
        "# Boat server\n\n## Options\n\n| Option | Default | Description |\n|---|---|---|\n"
        "| `keel.depth` | `2.5` | How far the hull reaches below the water line |\n| `sail` | | The colour of cloth |\n"
    )
    where = 'In "Boat server" under "Options"'
    assert asked(text) == [
        (f"{where}, what is the default of `keel.depth`?", "2.5"),
        (f'{where}, which option is described as "How far the hull reaches below the water line"?', "keel.depth"),
        (f'{where}, which option is described as "The colour of cloth"?', "sail"),
    ]


def test_a_matrix_is_asked_with_its_level_and_with_its_trait() -> None:
    text = (
        "# Crew levels\n\n| Trait | Deckhand (D1) | Mate (D2) | Captain (D3) |\n|---|---|---|---|\n"
        "| Watches | One at night | Two at night | None |\n"
        "| Trust | Works beside a mate in all kinds of weather | Sails alone in fair weather near the coast "
        "| Decides on the course and answers for the ship |\n"
    )
    found = asked(text)
    assert ('In "Crew levels", what does the table give as "Mate (D2)" for "Watches"?', "Two at night") in found
    question = 'which trait is described for "Mate (D2)" as "Sails alone in fair weather near the coast"?'
    assert (f'In "Crew levels", {question}', "Trust") in found


def test_tables_of_properties_by_row_and_of_keys_and_values() -> None:
    text = (
        "# Jetties\n\n| | North jetty | South jetty |\n|---|---|---|\n| Length | 40 m | 25 m |\n| Owner | Port | Club |"
        "\n\n## Harbour\n\n| Setting | Value |\n|---|---|\n| `depth` | 4 m |\n| `lights` | `on` |\n"
    )
    found = asked(text)
    assert ('In "Jetties", what is the length of "South jetty"?', "25 m") in found
    assert ('In "Jetties" under "Harbour", what is the value of `lights`?', "on") in found


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("- `speed`: Knots under sail. Default: `12`", "speed", "12"),
        ("- `speed` - Knots under sail. Default: 5 seconds", "speed", "5 seconds"),
        ("* **`speed`** (int): Knots under sail (default: 12)", "speed", "12"),
        ("`speed` defaults to `12` in harbours.", "speed", "12"),
        ("## `speed`\n\nKnots under sail. The default is `12`.", "speed", "12"),
        ("## `speed`\n\n**Default**: `12`", "speed", "12"),
        ("Set `speed` (knots). Its default is secret, as is `draft`.", "speed", None),
    ],
)
def test_a_default_is_asked_for_by_the_name_of_its_setting(line: str, name: str, value: str | None) -> None:
    defaults = [(q, v) for q, v in asked(f"# Boats\n\n{line}\n") if "default" in q]
    assert [v for _, v in defaults] == ([] if value is None else [value])
    assert all(f"the default of `{name}`?" in question for question, _ in defaults)


def test_terms_are_asked_for_by_their_descriptions() -> None:
    text = (
        "# Words\n\n- **Leeward**: The side that is away from the wind\n- **Keel** - A beam along the bottom of a hull"
        "\n\n## Flags\n\n- `-q`, `--quiet`: Print nothing to the screen.\n- `--log=<file>`: Write what happens to disk."
        "\n\n**Berth** is a place where a boat can be tied up for the night.\n"
    )
    found = {fact.question: fact for fact in facts_of(text)}
    questions = {
        'In "Words", what is described as "The side that is away from the wind"?': ("Leeward",),
        'In "Words", what is described as "A beam along the bottom of a hull"?': ("Keel",),
        'In "Words" under "Flags", which option is described as "Print nothing to the screen"?': ("-q", "--quiet"),
        'In "Words" under "Flags", which option is described as "Write what happens to disk"?': (
            "--log=<file>", "--log",
        ),
        'In "Words" under "Flags", what is described as "a place where a boat can be tied up for the night"?': (
            "Berth",
        ),
    }  # fmt: skip
    assert {question: found[question].as_draft("a").answers for question in questions if question in found} == questions


@pytest.mark.parametrize(
    ("heading", "text", "value"),
    [
        ("Can I moor here at night?", "Yes, from May on.", "Yes"),
        ("Do you have a boat?", "Yes? Then read the next page.", None),
        ("Where is the office?", "On the north jetty.", "On the north jetty"),
        ("How many berths are there?", "The harbour has 120 berths for boats of all sizes.", "120 berths"),
        ("How do I print the tides?", "Run `tides --print` in the shell.", "tides --print"),
        ("How do I sail?", "That is a long story, and nobody tells it in one line.", None),
    ],
)
def test_a_heading_that_asks_is_the_question(heading: str, text: str, value: str | None) -> None:
    found = [(q, v) for q, v in asked(f"# Port FAQ\n\n## {heading}\n\n{text}\n") if q.startswith("According to")]
    question = f'According to "Port FAQ", {heading[0].lower()}{heading[1:]}'
    assert found == ([] if value is None else [(question, value)])


@pytest.mark.parametrize(
    ("sentence", "question", "value"),
    [
        ("The `furl` command rolls up all sails at once.", "which command rolls up all sails at once?", "furl"),
        ("Use `--all` to show boats that have left the port.", "what do you use to show boats that", "--all"),
        ("To list every boat in the port, run `boats list`.", "what do you run to list every boat", "boats list"),
        ("The limit for boats in this harbour is 24 metres.", None, None),
        ("The longest boat in the harbour is 24 metres.", "what is the longest boat in the harbour?", "24 metres"),
        ("There are four cranes on the south jetty today.", None, None),
        ("There are four cranes on the south jetty.", "how many cranes are there on the south jetty?", "four"),
        ("We have two divers on call in every season.", "how many divers do we have on call", "two"),
        ("Guests pay a deposit of $50 before they take a key.", "which number is missing from", "$50"),
        ("It costs 50 crowns to take a key from the office.", None, None),
        ("The draught of the Heron is 2.5 metres.", "what is the draught of the Heron?", "2.5 metres"),
        ("The home port of the Heron is Whitby.", "what is the home port of the Heron?", "Whitby"),
        ("The point of the trip is fun.", None, None),
        ("Either 3 or 4 people can row the boat to the island.", None, None),
    ],
)
def test_a_sentence_is_turned_into_a_question(sentence: str, question: str | None, value: str | None) -> None:
    found = [(q, v) for q, v in asked(f"# Port\n\n{sentence}\n") if "which name" not in q]
    if value is None:
        assert found == []
    else:
        assert question is not None
        assert [v for _, v in found] == [value]
        assert question in found[0][0]


LEFT_ALONE = """\
---
title: Boats
tags: 12
draft: false
weight: 5
---
<!-- owner: 12 -->
[![build](https://ci.test/b.svg)](https://ci.test) ![version: 12](v.svg)

Note: 12 boats
**Warning:** 15
TODO: 7 tasks
Example: 12
Step 1: 30 minutes

> [!NOTE]
> Depth: 12

!!! tip
    Depth: 12

:::warning
Depth: 12
:::

{{< note >}}
Depth: 12
{{< /note >}}

```
Depth: 12
| a | b |
|---|---|
| c | 1 |
```

    Depth: 12

<div>Depth: 12</div>

- [Depth](depth.md): 12 pages
- [Sails](sails.md)
- **Note**: remember to close all of the hatches
- **Pro tip**: remember to close all of the hatches

| [Home](a.md) | [Next](b.md) |
|--------------|--------------|
| [One](c.md)  | [Two](d.md)  |

| Broken | table
|---
| a | b | c | d

## Examples

- `--deep`: Dive down to the bottom of the sea.
- `--flat`: Stay up on the top of the sea.
"""


def test_notes_code_front_matter_navigation_and_examples_are_left_alone() -> None:
    assert asked(LEFT_ALONE) == []


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("CHANGELOG.md", "# Log\n\n- **Sails**: Add a colour to each of them\n- **Keel**: Take out the second one\n"),
        ("boats.md", "# Boats\n\n" + "".join(f"## 1.{n} (2024-0{n}-01)\n\nWeight: {n} t\n\n" for n in range(1, 6))),
        ("meeting-notes-2024.md", "# Notes\n\nQuorum: 12 of 15\n"),
    ],
)
def test_lists_of_changes_and_minutes_are_left_alone(source: str, text: str) -> None:
    assert asked(text, source) == []


def test_of_a_document_in_another_language_only_plain_values_are_asked_for() -> None:
    text = (
        "# Hafen\n\nDas ist der Hafen von Norden, und die Boote sind nicht mit dem Netz verbunden.\n\n"
        "Plätze: 120\n\nFarbe: ein dunkles Blau\n\nAn der Mole liegen 40 Boote für die Fahrt zu den Inseln.\n"
        "\n| Boot | Länge | Beschreibung |\n|---|---|---|\n| Ida | 12 m | Ein Boot für die Fahrt zu den Inseln |\n"
        "| Eva | `9` | Ein Boot für die Fahrt auf dem Fluss |\n"
    )
    assert [value for _, value in asked(text)] == ["120", "12 m", "9"]


def test_a_question_names_its_document_and_heading() -> None:
    outlines = {
        "a/README.md": read_outline("# Overview\n"), "b/port.md": read_outline("# Port\n"),
        "c/port.md": read_outline("# Port\n"), "d/tides.md": read_outline("no title"),
        "e/sail.md": read_outline('---\ntitle: "Sailing"\n---\n\nText.\n'),
    }  # fmt: skip
    assert name_documents(outlines) == {
        "a/README.md": '"Overview" (a/README.md)', "b/port.md": '"Port" (b/port.md)',
        "c/port.md": '"Port" (c/port.md)', "d/tides.md": "d/tides.md", "e/sail.md": '"Sailing"',
    }  # fmt: skip
    text = "# Boats\n\n## Sails { #sails }\n\n### Size\n\nMain: 12 m2\n\n## Oars\n\n### Size\n\nMain: 3 m\n"
    assert asked(text) == [
        ('In "Boats" under "Size" of "Sails", what is given as "Main"?', "12 m2"),
        ('In "Boats" under "Size" of "Oars", what is given as "Main"?', "3 m"),
    ]


def test_code_and_values_are_kept_whole() -> None:
    text = (
        "# Env\n\n| Variable | Valid values | Type |\n|---|---|---|\n| `TIDE`, `WIND` | `high` or `low` | text |\n"
        '| `MOON` | a\\|b | <a id="m"></a>text |\n'
    )
    found = asked(text)
    assert ('In "Env", what are the valid values of "`TIDE`, `WIND`"?', "`high` or `low`") in found
    assert ('In "Env", what is the type of `MOON`?', "text") in found
    assert not any("a\\" in value or value == "a" for _, value in found)
