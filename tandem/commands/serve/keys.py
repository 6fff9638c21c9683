"""`tandem keys`: who may call the endpoint, what for, and how much."""

from typing import Annotated, Any

import typer
from rich.table import Table

from serving.access.keys import Key, Keys, Limits
from tandem.commands.options import DEFAULT, AsJson, ProjectFile
from tandem.console import Console
from tandem.project.project import load


def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is, for the list.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model that the key may ask: base or base:adapter; may be repeated. Without: all."),
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="A collection that the key may search; may be repeated. Without: all.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Let the key find the documents of this tenant too.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Let the key find documents with this label; may be repeated.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="The most requests in any 60 seconds. Without: no limit.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None,
        typer.Option(min=1, help="The most tokens of prompts and answers in any 60 seconds. Without: no limit."),
    ] = None,
    tokens_per_day: Annotated[
        int | None,
        typer.Option(min=1, help="The most tokens of prompts and answers in a day (UTC). Without: no limit."),
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="The most requests at the same time. Without: no limit.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Allow questions, answers and ratings to be kept for evaluation.")
    ] = False,
    config: ProjectFile = DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Create an API key and print it once.

    Only a hash of the key is stored. An endpoint that was started without keys asks for keys after its next start.
    """
    limits = Limits(
        requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute, tokens_per_day=tokens_per_day,
        concurrency=concurrency,
    )  # fmt: skip
    key, secret = Keys(load(config).storage.keys_place).create(
        name, models=tuple(model) if model else None, collections=tuple(collection) if collection else None,
        tenant=tenant, labels=tuple(label or ()), limits=limits, keep=keep,
    )  # fmt: skip
    console = Console(as_json)
    console.result(secret, {"key": secret, **key_to_json(key)})
    console.hint("send it as `Authorization: Bearer ...`; it cannot be shown again.")


def list_keys(config: ProjectFile = DEFAULT, as_json: AsJson = False) -> None:
    """List the API keys and what each may do.

    The keys themselves are not stored and cannot be shown.
    """
    keys, console = Keys(load(config).storage.keys_place).all(), Console(as_json)
    if as_json or not keys:
        console.result("There are no keys: whoever reaches the endpoint may ask.", [key_to_json(key) for key in keys])
    else:
        console.table(make_table(keys))


def revoke_key(
    id: Annotated[str, typer.Argument(help="The id, as `tandem keys list` shows it.")], config: ProjectFile = DEFAULT
) -> None:
    """Revoke an API key.

    The endpoint refuses it after a second.
    """
    key = Keys(load(config).storage.keys_place).revoke(id)
    Console().result(f"{key.id} ({key.name}) is revoked.", None)


def key_to_json(key: Key) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude={"digest"})


def make_table(keys: list[Key]) -> Table:
    table = Table("id", "name", "models", "collections", "tenant", "labels", "limits", "created", box=None)
    for key in keys:
        limits = ", ".join(f"{name} {value}" for name, value in key.limits.model_dump().items() if value is not None)
        table.add_row(
            key.id, key.name, _names_or_all(key.models), _names_or_all(key.collections), key.tenant or "",
            ", ".join(key.labels), limits, key.created,
        )  # fmt: skip
    return table


def _names_or_all(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names)
