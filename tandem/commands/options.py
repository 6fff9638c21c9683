"""The options that several verbs have, their defaults, and how options that go together become one parameter."""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

ProjectFile = Annotated[Path, typer.Option("-c", "--config", help="The project file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Tenant = Annotated[str | None, typer.Option(help="Search as a caller of this tenant.")]
Labels = Annotated[list[str] | None, typer.Option(help="Search as a caller with this label; may be repeated.")]
JudgedFile = Annotated[Path, typer.Argument(help="Questions with sources (JSONL), a BEIR folder, or TREC topics.")]
DraftFile = Annotated[Path, typer.Argument(help="A file that `tandem questions build` wrote.")]
Qrels = Annotated[Path | None, typer.Option(help="The judgements of a TREC topics file.")]
Despite = Annotated[str | None, typer.Option(help="The reason to make it live although a gate holds it; it is kept.")]
PARTLY_FAILED = 3
VERDICT_CHANGED = 4
DEFAULT = Path("tandem.yaml")


def with_option_groups(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb one option for each field of every dataclass among its parameters.

    A parameter with a default cannot come before an argument without one, so the dataclasses come last:

        @with_option_groups
        def train(resume: ... = False, *, submit_options: SubmitOptions) -> None:
    """
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    own = [parameter for name, parameter in signature(verb).parameters.items() if name not in groups]
    options = [option for group in groups.values() for option in _options_of(group)]

    @wraps(verb)
    def command(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{each.name: values.pop(each.name) for each in fields(group)})
        verb(**values)

    parameters = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in (*own, *options)]
    command.__annotations__ = {each.name: hints.get(each.name, each.annotation) for each in parameters}
    command.__signature__ = signature(verb).replace(parameters=parameters)  # type: ignore[attr-defined]
    return command


def _options_of(group: Any) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for each in fields(group):
        yield Parameter(each.name, Parameter.KEYWORD_ONLY, default=_default(each), annotation=hints[each.name])


def _default(field: "Field[Any]") -> Any:
    return Parameter.empty if field.default is MISSING else field.default
