"""Names of collections as Milvus allows them: letters, digits and underscores.

    help-desk  ->  alias tandem_help_ddesk, behind it tandem_help_ddesk_v<settings digest>

`_` is written `__` and `-` is written `_d`, so two names never meet, and `_v` cannot come from a name.
"""

import re

PREFIX = "tandem_"
_PHYSICAL = re.compile(PREFIX + r"((?:[a-z0-9]|__|_d)+)_v([0-9a-f]{12})")


def alias_of(name: str) -> str:
    """The alias under which a collection is searched."""
    return PREFIX + name.replace("_", "__").replace("-", "_d")


def physical_name(name: str, settings_digest: str) -> str:
    """The collection built with the settings that have this SHA-256 (hex)."""
    return f"{alias_of(name)}_v{settings_digest[:12]}"


def name_of(physical: str) -> str | None:
    """The name that `physical` was built for; None where it is none of ours."""
    match = _PHYSICAL.fullmatch(physical)
    if match is None:
        return None
    return re.sub("__|_d", lambda escape: "_" if escape[0] == "__" else "-", match[1])
