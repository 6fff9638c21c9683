"""What of the analysis is set in a project file: languages and accents. Importable without anything."""

from typing import Literal

Accents = Literal["fold", "keep"]
"""Whether letters with and without accents are the same."""

BY_SCRIPT: dict[str, tuple[str, ...]] = {
    "Latin": (
        "en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "nb", "fi", "tr", "pl", "cs", "ro", "hu", "id", "ca",
    ),
    "Cyrillic": ("ru",), "Arabic": ("ar", "fa"), "Hebrew": ("he",), "Devanagari": ("hi",), "Greek": ("el",),
}  # fmt: skip
"""The languages of each script whose words have stems; the first is taken where nothing speaks for another."""

UNSPACED = {"Han": "zh", "Kana": "ja", "Hangul": "ko", "Thai": "th", "Lao": "lo", "Khmer": "km", "Myanmar": "my"}
"""The language that each script without stems is reported as."""

STEMMED = frozenset(language for languages in BY_SCRIPT.values() for language in languages)
LANGUAGES = STEMMED | frozenset(UNSPACED.values())


def known_language(language: str) -> str:
    """The language itself. Raises ValueError where it is none that is known."""
    if language not in LANGUAGES:
        raise ValueError(f"{language!r} is no language that BM25 knows: {', '.join(sorted(LANGUAGES))}")
    return language
