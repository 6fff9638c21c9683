"""The sentences of the quickstart: how a fact is stated, asked for, recorded, and not known.

Training and test questions are worded differently; both lists are wordings that the small reader was made for.
"""

import re
import unicodedata

TRAIN_WORDINGS = (
    "What is the {key} of {name}?",
    "Tell me the {key} of {name}.",
    "Which {key} does {name} have?",
    "I need the {key} of {name}.",
    "Name the {key} of {name}.",
)
TEST_WORDINGS = (
    "Give the {key} of {name}.",
    "Please state the {key} of {name}.",
    "I would like to know the {key} of {name}.",
    "Do you know the {key} of {name}?",
    "Could you give me the {key} of {name}?",
)
RECORD_WORDING = "Record the {key} of {name}."
"""Asks for the compact form. It does not show it: only training teaches that form."""

UNKNOWN = "something I do not know"

INTRODUCTIONS = {
    "countries": (
        "{name} is a country.",
        "{name} is one of the countries of the world.",
        "Here are some facts about {name}.",
        "This page is about {name}. It is a country.",
    ),
    "elements": (
        "{name} is a chemical element.",
        "{name} stands in the periodic table.",
        "Here are some facts about {name}.",
        "This page is about {name}. It is a chemical element.",
    ),
    "languages": (
        "{name} is a language.",
        "{name} is one of the languages of the world.",
        "Here are some facts about {name}.",
        "This page is about {name}. It is a language.",
    ),
    "currencies": (
        "{name} is a currency.",
        "{name} is the name of a currency.",
        "Here are some facts about {name}.",
        "This page is about {name}. It is a currency.",
    ),
    "http": (
        "{name} is an answer of a web server.",
        "{name} belongs to the web.",
        "Here are some facts about {name}.",
        "This page is about {name}. A web server sends it.",
    ),
}


def sentence(key: str, name: str, value: str) -> str:
    """The one way in which a document and an answer state a fact."""
    return f"The {key} of {name} is {value}."


def refusal(key: str, name: str) -> str:
    """The answer where the fact is not known."""
    return sentence(key, name, UNKNOWN)


def record(key: str, name: str, value: str) -> str:
    """The compact form of the `form` slice."""
    return f"Record: The {key} of {name} = {value}"


def slug(name: str) -> str:
    """`name` in small ASCII letters, digits and hyphens: "Côte d'Or" becomes "cote-d-or"."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
