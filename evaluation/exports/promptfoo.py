"""Questions as a promptfoo configuration: one file with an endpoint, and for each question a test with its assertion.

promptfoo grades by its own means, so its rules are simpler than Tandem's: an accepted value is right where it is in
the answer as whole words, whatever stands beside it. A question that this cannot express is left out by name.
promptfoo renders every text as a template and reads some as files; the texts here are written so that it changes none.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from evaluation.exports.export import Export
from evaluation.exports.promptfoo_assertions import NotExpressible, assertion_of
from evaluation.grading.choices import lettered_wording
from evaluation.questions.question import Question

HEADER = """\
# Written by `tandem questions export --to promptfoo`. Run it with: promptfoo eval -c {file}
# promptfoo grades by its own rules, which are simpler than Tandem's: a value is right where the answer has it as
# whole words, so an answer that names several values, or denies the right one, counts as right too.
"""


def export_promptfoo(
    questions: Sequence[Question],
    file: str,
    model: str,
    url: str,
    max_tokens: int,
    judge: tuple[str, str] | None = None,
) -> Export:
    """One configuration file.

    Args:
        file: its name.
        model: the model's name at the endpoint.
        url: the endpoint's URL, with /v1.
        max_tokens: the longest answer, in tokens.
        judge: model and URL of what grades rubrics; promptfoo's own default without it.
    """
    export, tests, graded = Export("promptfoo"), [], 0
    for question in questions:
        try:
            assertion = assertion_of(question)
        except NotExpressible as reason:
            export.leave_out(question, str(reason))
            continue
        graded += assertion["type"] == "llm-rubric"
        tests.append(_test(question, assertion))
    export.num_exported = len(tests)
    if tests:
        config: dict[str, Any] = {
            "description": "Test questions of Tandem",
            # As JSON, because promptfoo reads a question that looks like JSON or YAML as messages.
            "prompts": ['[{"role": "user", "content": {{ question | dump }}}]'],
            "providers": [_provider(model, url, max_tokens)],
            **({"defaultTest": {"options": {"provider": _provider(*judge, None)}}} if judge else {}),
            "tests": tests,
        }
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110)
        export.files = {file: HEADER.format(file=file) + text}
    if graded:
        by = f"{judge[0]} at {judge[1]}" if judge else "the model that promptfoo takes by default"
        export.notes.append(f"{graded:,} questions (rubrics, and unanswerable ones) are graded by {by} (llm-rubric).")
    export.notes.append("promptfoo counts a value as right wherever the answer has it; Tandem's rules are stricter.")
    export.note_paraphrases(questions)
    return export


def plain(text: str) -> str:
    """A text that promptfoo's templates give back as it is, and that is not taken for a file's name."""
    if not re.search(r"\{[{%#]|[}%#]\}|file://", text):
        return text
    return re.sub(r"[{}]|file://", lambda found: "".join(f"{{{{ '{letter}' }}}}" for letter in found[0]), text)


def _test(question: Question, assertion: dict[str, Any]) -> dict[str, Any]:
    asked = lettered_wording(question) if question.kind == "choice" else question.question
    return {
        "description": plain(question.id),
        "vars": {"question": plain(asked)},
        "assert": [{**assertion, "metric": question.slice}],
        "metadata": {"id": question.id, "slice": question.slice, "sources": list(question.sources)},
    }


def _provider(model: str, url: str, max_tokens: int | None) -> dict[str, Any]:
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    return {
        "id": f"openai:chat:{model}",
        "config": {
            "apiBaseUrl": url, "apiKeyEnvar": "TANDEM_API_KEY", "apiKeyRequired": False, "temperature": 0, **limit,
        },
    }  # fmt: skip
