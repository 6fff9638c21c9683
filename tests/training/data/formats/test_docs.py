"""The rows of docs/training.md and docs/training-tools.md are read, and their tables name the keys that are."""

import re
from pathlib import Path

import pytest

from training.config import TrainingConfig
from training.data.formats.keys import (
    ANSWERED_KEYS,
    CALLS_KEYS,
    LOSS_FLAGS,
    PAIR_KEYS,
    PAIR_PROMPT_KEYS,
    ROLES,
    SETTINGS_KEY,
    SYSTEM_KEYS,
    THINKING_KEYS,
    TOOLS_KEYS,
)
from training.data.rows import check_rows

DOCS = Path(__file__).parents[4] / "docs"
PAGE = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("training.md", "training-tools.md"))
EXAMPLES = [
    (line, "dpo" if kind else "sft")
    for kind, block in re.findall(r"```json( dpo)?\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize(("line", "objective"), EXAMPLES)
def test_a_row_of_the_page_is_read(write_rows, line: str, objective: str) -> None:
    report = check_rows(TrainingConfig.model_validate({"data": str(write_rows([line])), "objective": objective}))
    assert report.bad == ()


def test_the_page_names_every_key() -> None:
    pairs = (key for keys in (*ANSWERED_KEYS, *PAIR_KEYS) for key in keys)
    tools = (*TOOLS_KEYS, *CALLS_KEYS, *THINKING_KEYS, SETTINGS_KEY)
    keys = (*pairs, *PAIR_PROMPT_KEYS, *SYSTEM_KEYS, *LOSS_FLAGS, *ROLES, *tools)
    assert {key for key in keys if f"`{key}`" not in PAGE} == set()
