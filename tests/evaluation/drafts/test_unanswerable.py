"""Questions that the documents leave open, and none that any of them answers."""

from pathlib import Path

from evaluation.drafts.documents import Documents, DraftDocument
from evaluation.drafts.drafting import draft_questions

SETTINGS = """\
# Boat server

## `tide`

Height of the water.

**Default:** `3`

## `wind`

Speed of the air.

**Default:** `12`

## `moon`

Phase of the moon.
"""


def left_open(**texts: str) -> set[str]:
    documents = tuple(DraftDocument(f"{name}.md", Path(name), text) for name, text in texts.items())
    drafts = draft_questions(Documents(documents, ()), 400).drafts
    unanswerable = [draft for draft in drafts if not draft.answerable]
    assert all((draft.answers, draft.sources, draft.slice) == ((), (), "unanswerable") for draft in unanswerable)
    return {draft.question for draft in unanswerable}


def many(number: int = 40) -> str:
    return "# Sails\n\n" + "".join(f"## Sail {n}\n\nWeight: {n} kg\n\n" for n in range(number))


def test_a_setting_without_a_default_among_others_with_one() -> None:
    question = 'In "Boat server", what is the default of `moon`?'
    assert left_open(server=SETTINGS, sails=many()) == {question}
    elsewhere = "# Notes\n\nUnless it is set, `moon` has the default that the almanac gives.\n"
    assert left_open(server=SETTINGS, notes=elsewhere, sails=many()) == set()


def test_an_empty_cell_of_a_property() -> None:
    table = (
        "# Oars\n\n| Oar | Length | Maker |\n|---|---|---|\n| Long | 3 m | Ann |\n| Short | | Ben |\n| Wide | 2 m | |\n"
    )
    assert left_open(oars=table, sails=many()) == {'In "Oars", what is the length of "Short"?'}
    given = "# More\n\nThe short oar has a length of 1 m.\n"
    assert left_open(oars=table, more=given, sails=many()) == set()


def test_a_column_that_another_table_of_settings_lacks() -> None:
    text = (
        "# Radio\n\n## Sending\n\n| Setting | Default |\n|---|---|\n| `power` | 5 W |\n| `band` | 80 m |\n\n"
        "## Receiving\n\n| Setting | Type |\n|---|---|\n| `gain` | int |\n| `squelch` | int |\n"
    )
    assert left_open(radio=text, sails=many()) == {
        'In "Radio" under "Receiving", what is the default of `gain`?',
        'In "Radio" under "Receiving", what is the default of `squelch`?',
        'In "Radio" under "Sending", what is the type of `power`?',
        'In "Radio" under "Sending", what is the type of `band`?',
    }


def test_a_table_of_other_things_lacks_no_default() -> None:
    text = (
        "# Radio\n\n## Settings\n\n| Key | Description | Default |\n|---|---|---|\n| `power` | To send | 5 W |\n"
        "| `band` | To hear | 80 m |\n\n## What it reports\n\n| Key | Description |\n|---|---|\n"
        "| `noise` | How loud it is |\n| `hours` | How long it ran |\n"
    )
    assert left_open(radio=text, sails=many()) == set()


def test_a_key_that_the_other_documents_of_the_folder_give() -> None:
    people = {name: f"# {name}\n\nEmail: {name}@port.test\n" for name in ("Ann", "Ben", "Cleo", "Dora")}
    assert left_open(**people, Eve="# Eve\n\nEve sails at night.\n") == set()  # too few drafts: one in eight
    many_people = {f"P{n}": f"# P{n}\n\nEmail: p{n}@port.test\n" for n in range(12)}
    assert left_open(**many_people, Eve="# Eve\n\nEve sails at night.\n") == {'In "Eve", what is given as "Email"?'}
