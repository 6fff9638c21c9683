"""`tandem keys`: who may call the endpoint, what for, and how much."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tandem.console import Console
from tandem.options import DEFAULT, AsJson, ProjectFile

if TYPE_CHECKING:
    from rich.table import Table

    from serving.access.keys import Key

keys_app = typer.Typer(help="API keys of the endpoint.", no_args_is_help=True)
AtLeastOne = Annotated[int | None, typer.Option(min=1)]


@keys_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, for the list.")],
    model: Annotated[
        list[str] | None, typer.Option(help="base or base:adapter; may be repeated. Without: all.")
    ] = None,
    collection: Annotated[list[str] | None, typer.Option(help="May be repeated. Without: all.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Finds the documents of this tenant too.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Finds documents with this label; may be repeated.")] = None,
    requests_per_minute: AtLeastOne = None,
    tokens_per_minute: AtLeastOne = None,
    tokens_per_day: AtLeastOne = None,
    concurrency: AtLeastOne = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Questions, answers and ratings may be kept for evaluation.")
    ] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it; only its hash is kept. A running endpoint without keys asks for one once restarted."""
    from serving.access.keys import Keys, Limits
    from tandem.project.project import load

    limits = Limits(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, tokens_per_day=tokens_per_day,
        concurrency=concurrency,
    )  # fmt: skip
    key, secret = Keys(load(config).storage.keys_place).create(
        name, models=tuple(model) if model else None, collections=tuple(collection) if collection else None,
        tenant=tenant, labels=tuple(label or ()), limits=limits, keep=keep,
    )  # fmt: skip
    console = Console(as_json)
    console.result(secret, {"key": secret, **_shown(key)})
    console.hint("send it as `Authorization: Bearer ...`; it cannot be shown again.")


@keys_app.command("list")
def list_keys(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """Show what each key is for. The keys themselves are nowhere."""
    from serving.access.keys import Keys
    from tandem.project.project import load

    found, console = Keys(load(config).storage.keys_place).all(), Console(as_json)
    if as_json or not found:
        console.result("There are no keys: whoever reaches the endpoint may ask.", [_shown(key) for key in found])
    else:
        console.table(_table(found))


@keys_app.command("revoke")
def revoke(
    id: Annotated[str, typer.Argument(help="The id, as `tandem keys list` shows it.")], config: ProjectFile = DEFAULT
) -> None:
    """Take a key back: after a second it opens nothing."""
    from serving.access.keys import Keys
    from tandem.project.project import load

    key = Keys(load(config).storage.keys_place).revoke(id)
    Console().result(f"{key.id} ({key.name}) is revoked.", None)


def _shown(key: "Key") -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"digest"})


def _table(keys: "list[Key]") -> "Table":
    from rich.table import Table

    table = Table("id", "name", "models", "collections", "tenant", "labels", "limits", "created", box=None)
    for key in keys:
        limits = ", ".join(f"{name} {value}" for name, value in key.limits.model_dump().items() if value is not None)
        table.add_row(
            key.id, key.name, _listed(key.models), _listed(key.collections), key.tenant or "", ", ".join(key.labels),
            limits, key.created,
        )  # fmt: skip
    return table


def _listed(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names)
