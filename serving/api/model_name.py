"""Model names: `base`, `base:adapter`, `base:adapter@7`, `base+collection`, `base:adapter@7+collection`.

Several collections are searched together: `base+handbook+tickets`.
"""

import re
from dataclasses import dataclass, replace

from cluster.errors import TandemError
from retrieval.store.collection import MAX_COLLECTIONS, collections_of

MAX_NAME = 63
MAX_MODEL_NAME = 2 * MAX_NAME + 12 + MAX_COLLECTIONS * (MAX_NAME + 1)

_NAME = r"(?:(?!--)[a-z0-9_-]){1,63}"
_MODEL = re.compile(
    rf"(?P<base>{_NAME})(?::(?P<adapter>{_NAME})(?:@(?P<version>[1-9][0-9]{{0,8}}))?)?(?:\+(?P<collection>{_NAME}(?:\+{_NAME})*))?"
)


@dataclass(frozen=True)
class ModelName:
    """What a request's `model` asks for; `version` None means the alias `live`."""

    base: str
    adapter: str | None = None
    version: int | None = None
    collection: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Raises TandemError for anything but the five forms; says nothing about whether the parts exist."""
        match = _MODEL.fullmatch(text) if len(text) <= MAX_MODEL_NAME else None
        if match is None or not (match["collection"] is None or is_collection(match["collection"])):
            raise TandemError(
                f"The model name {_shown(text)} cannot be read.",
                "Accepted are base, base:adapter, base:adapter@7, base+collection and base:adapter@7+collection, "
                f"each part of up to 63 characters a-z, 0-9, _ and single -, with up to {MAX_COLLECTIONS} different "
                "collections.",
                "Correct the name; GET /v1/models lists those that exist.",
            )
        version = match["version"]
        return cls(match["base"], match["adapter"], int(version) if version else None, match["collection"])

    def __str__(self) -> str:
        adapter = f":{self.adapter}" if self.adapter else ""
        version = f"@{self.version}" if self.version else ""
        collection = f"+{self.collection}" if self.collection else ""
        return f"{self.base}{adapter}{version}{collection}"

    @property
    def model(self) -> str:
        """`base` or `base:adapter`: what a key names."""
        return f"{self.base}:{self.adapter}" if self.adapter else self.base

    @property
    def pinned_model(self) -> str:
        """`base` or `base:adapter@7`."""
        return str(replace(self, collection=None))

    def pinned(self, version: int) -> "ModelName":
        """The same name with the version that the alias stood for."""
        return replace(self, version=version)


def is_name(text: str) -> bool:
    """Whether `text` may name an adapter, a collection or a base model."""
    return re.fullmatch(_NAME, text) is not None


def is_collection(text: str) -> bool:
    """Whether `text` may name a collection, or several different ones as `handbook+tickets`."""
    names = collections_of(text)
    return len(names) <= MAX_COLLECTIONS and len(set(names)) == len(names) and all(map(is_name, names))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
