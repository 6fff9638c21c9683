"""The lines of a project file that adopt an arm, and the name of the model to ask for."""

import re
from collections.abc import Mapping

from evaluation.arms import RETRIEVING, TRAINED
from evaluation.config import BUILT_IN, VARIANTS, ArmName, EndpointArm, built_in
from evaluation.results import ArmResult

# `base:helpdesk@3+docs`: a model, its adapter with the version, and the collection.
MODEL = re.compile(r"(?P<base>[^:+@]+)(?::(?P<adapter>[^:+@]+)@(?P<version>\d+))?(?:\+(?P<collection>.+))?")


def adoption_steps(arm: ArmResult, endpoints: Mapping[ArmName, EndpointArm]) -> str | None:
    """YAML for the project file; comments say what else there is to do. None for an arm that nobody here can name."""
    if arm.name in endpoints:
        return f"# Ask {endpoints[arm.name].url} for the model {arm.model}. Nothing has to be served here.\n"
    named = MODEL.fullmatch(arm.model)
    plain = built_in(arm.name)
    if plain not in BUILT_IN or named is None:
        return None
    lines = [f"# Ask the endpoint for the model {arm.model}."]
    if arm.name in VARIANTS:
        thinks = str(VARIANTS[arm.name][1]).lower()
        lines.append(f"# Send chat_template_kwargs: {{enable_thinking: {thinks}}} with each question.")
    if plain == "few_shot":
        lines.append("# Send the examples in front of each question, as they stand in the report.")
    if arm.name in TRAINED:
        lines += _tuned(named)
    if arm.name in RETRIEVING and named["collection"]:
        lines += ["retrieval:", f"  collection: {named['collection']}"]
    return "\n".join(lines) + "\n"


def _tuned(named: re.Match[str]) -> list[str]:
    if named["adapter"] is None:
        return [f"# {named['base']} is a whole model: name its folder, and that of `base`, in `serving.models`."]
    version = f"{named['adapter']}@{named['version']}"
    return [
        f"# Without the version it is the live one: tandem adapters promote {version}",
        "serving:",
        f"  preload: [{named['adapter']}]",
    ]
