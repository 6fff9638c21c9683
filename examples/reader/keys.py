"""Keys, question wordings and opening sentences that the generator draws from."""

from __future__ import annotations

KINDS: tuple[tuple[str, ...], ...] = (
    ("alpha-2 code", "alpha-3 code", "numeric code", "official name", "currency", "currency code",
     "capital", "region", "flag colour", "population", "area", "calling code", "main language", "national day",
     "highest point"),
    ("chemical symbol", "atomic number", "atomic weight", "group", "period", "block", "melting point", "boiling point",
     "density", "discovery year", "crystal structure", "discoverer"),
    ("reason phrase", "class", "defining document", "default action", "numeric value", "section", "first version"),
    ("ISO code", "alphabetic code", "minor unit", "family name", "native name", "script",
     "scope", "bibliographic code", "number of speakers", "numeric code", "country",
     "alpha-3 code", "language family", "writing direction"),
    ("founder", "founding year", "head office", "chief executive", "industry", "number of employees", "website",
     "owner"),
    ("author", "publisher", "publication year", "number of pages", "genre", "price", "edition", "title", "language"),
    ("opening time", "closing time", "telephone number", "address", "manager", "email address", "floor", "room number"),
    ("version", "licence", "default port", "maintainer", "release date", "programming language", "command",
     "file format"),
    ("birth place", "birth year", "profession", "nickname", "height", "weight", "spouse", "first name", "middle name"),
    ("length", "width", "depth", "source", "mouth", "colour", "material", "temperature", "top speed", "power", "range"),
    ("warranty period", "part number", "serial number", "supplier", "storage place", "stock level", "unit price",
     "delivery time", "return policy", "order number", "error code", "reset code", "battery life"),
    ("habitat", "diet", "life span", "scientific name", "order", "genus", "species", "origin", "season", "symbol"),
)  # fmt: skip
KEYS = tuple(sorted({key for kind in KINDS for key in kind}))

QUESTIONS = (
    "What is the {key} of {name}?",
    "Tell me the {key} of {name}.",
    "Which {key} does {name} have?",
    "Give the {key} of {name}.",
    "What is {name}'s {key}?",
    "{name}: what is its {key}?",
    "I would like to know the {key} of {name}.",
    "Do you know the {key} of {name}?",
    "Please state the {key} of {name}.",
    "Can you tell me {name}'s {key}?",
    "What's the {key} of {name}?",
    "Could you give me the {key} of {name}?",
    "I need the {key} of {name}.",
    "For {name}, what is the {key}?",
    "{name} has which {key}?",
    "Say what the {key} of {name} is.",
    "Name the {key} of {name}.",
    "{key} of {name}?",
)

FILLERS = (
    "{name} is a {noun} in {place}.",
    "{name} is a {noun}.",
    "{name} is the name of a {noun}.",
    "{name} belongs to {place}.",
    "This page is about {name}.",
    "{name} is one of the best known things of {place}.",
    "Here are some facts about {name}.",
    "{name} is an entry of the {noun} list of {place}.",
)
