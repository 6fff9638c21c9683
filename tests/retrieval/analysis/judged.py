"""Documents and judged questions in thirteen languages, written for these tests (languages.yaml)."""

from pathlib import Path

import yaml

_READ = yaml.safe_load(Path(__file__).with_name("languages.yaml").read_text(encoding="utf-8"))
TEXTS: dict[str, dict[str, str]] = {language: judged["documents"] for language, judged in _READ.items()}
"""By language the texts of the documents, by name."""
QUESTIONS: dict[str, list[tuple[str, str]]] = {
    language: [(question, name) for question, name in judged["questions"]] for language, judged in _READ.items()
}
"""By language each question with the name of the document that answers it."""
LANGUAGES_JUDGED = sorted(TEXTS)


def source_of(language: str, name: str) -> str:
    return f"{language}/{name}.txt"


def write_texts(folder: Path) -> None:
    """Every document as a file below `folder`."""
    for language, texts in TEXTS.items():
        (folder / language).mkdir(parents=True)
        for name, text in texts.items():
            (folder / source_of(language, name)).write_text(text, encoding="utf-8")
