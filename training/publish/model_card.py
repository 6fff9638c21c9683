"""The model card of a version: what it was made from, how its training went, and how it is served.

The same training gives the same bytes: no times, no folders of the run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.config import TrainingConfig
from training.publish.publish import result_kind

LOSS_PLOT, LEARNING_RATE_PLOT = "loss.png", "learning_rate.png"
_DARK_BLUE, _LIGHT_BLUE, _RED = "#1f4e79", "#9db8d2", "#c0504d"
_SETTINGS_OF_PLACES = {"data", "held_out_data", "adapter", "nvme_path", "mlflow", "wandb", "trackio", "ray_options"}


def write_model_card(
    folder: Path,
    name: str,
    config: TrainingConfig,
    *,
    model: str,
    data_digest: str,
    lines: Sequence[dict[str, Any]],
    metrics: dict[str, float],
    new_ends: Sequence[int] = (),
    chat_template_kwargs: Mapping[str, Any] | None = None,
    is_chat: bool = True,
) -> None:
    """Write README.md, loss.png and learning_rate.png beside the published weights.

    Args:
        name: what the version is published under.
        lines: the recorded values of each step, as `metrics.read_metrics` gives them.
        metrics: the last figures, as the manifest has them.
        new_ends: tokens that end learnt answers, and not those of the base model.
        chat_template_kwargs: settings of the chat template that all rows were trained with.
        is_chat: whether there is a chat template to ask the model with.
    """
    steps = [line for line in lines if "loss" in line]
    held_out = [line for line in lines if "held_out_loss" in line]
    _plot_losses(steps, held_out, folder / LOSS_PLOT)
    _plot_curves(folder / LEARNING_RATE_PLOT, "learning rate", [([line["step"] for line in steps],
          [line["learning_rate"] for line in steps], {"color": _DARK_BLUE})])  # fmt: skip
    sections = [
        _head_section(name, config, model),
        _data_section(config, data_digest, metrics),
        _training_section(held_out, metrics),
        _settings_section(config),
        _serving_section(name, config, is_chat) + _alone_notes(config, new_ends, chat_template_kwargs),
    ]
    (folder / "README.md").write_text("\n".join(sections))


def _head_section(name: str, config: TrainingConfig, model: str) -> str:
    kind = "A whole model, tuned from" if result_kind(config) == "merged" else "An adapter to"
    library = "transformers" if result_kind(config) == "merged" else "peft"
    front = f"---\nbase_model: {json.dumps(model)}\nlibrary_name: {library}\npipeline_tag: text-generation\n---\n"
    return f"{front}\n# {name}\n\n{kind} `{model}`, trained with `{config.method}` ({config.objective}) by Tandem.\n"


def _data_section(config: TrainingConfig, digest: str, metrics: dict[str, float]) -> str:
    names = [source.path.name if source.path else source.name for source in config.data]
    held_out = [source.path.name if source.path else source.name for source in config.held_out_data]
    aside = f"rows of {', '.join(held_out)}" if held_out else f"{config.held_out:.0%} of the rows"
    return (
        f"## Data\n\n{metrics['num_rows']:.0f} rows of {', '.join(names)}; {aside} were held out. "
        f"Each row's digest and sources stand in trained.jsonl.\n\nSHA-256 of rows and weights: `{digest}`\n"
    )


def _training_section(held_out: Sequence[dict[str, Any]], metrics: dict[str, float]) -> str:
    rows = [f"| {line['step']} | {line['held_out_loss']:.4f} |" for line in held_out]
    table = "\n".join(["| step | held-out loss |", "|---:|---:|", *rows]) + "\n" if rows else "No rows were held out.\n"
    last = f"After {metrics['num_steps_done']:.0f} of {metrics['num_steps']:.0f} steps"
    if "epoch_loss" in metrics:
        last += f" the mean loss of epoch {metrics['epoch']:.0f} was {metrics['epoch_loss']:.4f}"
    if "held_out_step" in metrics:
        last += (
            f". The published weights are those after step {metrics['held_out_step']:.0f}, "
            f"with a held-out loss of {metrics['held_out_loss']:.4f}"
        )
    return f"## Training\n\n{last}.\n\n![loss]({LOSS_PLOT})\n\n{table}\n![learning rate]({LEARNING_RATE_PLOT})\n"


def _settings_section(config: TrainingConfig) -> str:
    values = config.model_dump(mode="json", exclude=_SETTINGS_OF_PLACES)
    rows = "\n".join(f"| {key} | {json.dumps(value)} |" for key, value in values.items())
    return f"## Settings\n\n| setting | value |\n|---|---|\n{rows}\n"


def _serving_section(name: str, config: TrainingConfig, is_chat: bool) -> str:
    if result_kind(config) == "merged":
        model = name
        start = f"Name this folder in `serving.models: {{{name}: <folder>}}` and run `tandem serve`"
        alone = "vllm serve <folder>"
    else:
        model = f"base:{name}"
        start = "Run `tandem serve` with the project file that it was trained with"
        alone = f"vllm serve <base> --enable-lora --max-lora-rank {config.rank} --lora-modules {name}=<folder>"
    asked = 'chat.completions.create(model="{}", messages=[{{"role": "user", "content": "..."}}])'
    if not is_chat:
        asked = 'completions.create(model="{}", prompt="...")'
    return (
        f"## Serving\n\n{start}, and ask for the model `{model}`:\n\n```python\n"
        'client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none")\n'
        f"client.{asked.format(model)}\n```\n\nWithout Tandem: `{alone}`."
    )


def _alone_notes(config: TrainingConfig, new_ends: Sequence[int], settings: Mapping[str, Any] | None) -> str:
    """What `tandem serve` does by itself, and a caller has to do elsewhere. Whole models have their ends in
    generation_config.json; vLLM reads that of the base alone."""
    notes = ""
    if new_ends and result_kind(config) != "merged":
        notes += (
            " Answers end with a token at which the base model does not end: pass "
            f"`stop_token_ids: {list(new_ends)}` with each request. `tandem serve` does so by itself."
        )
    if settings:
        notes += (
            " All rows were trained with settings of the chat template: pass "
            f"`chat_template_kwargs: {json.dumps(settings)}` with each request. `tandem serve` does so by itself."
        )
    return f"{notes}\n"


def _plot_losses(steps: Sequence[dict[str, Any]], held_out: Sequence[dict[str, Any]], path: Path) -> None:
    numbers, losses = [line["step"] for line in steps], [line["loss"] for line in steps]
    curves: list[Any] = [
        (numbers, losses, {"color": _LIGHT_BLUE, "linewidth": 1, "label": "each step"}),
        (numbers, smooth(losses), {"color": _DARK_BLUE, "linewidth": 2, "label": "training, smoothed"}),
    ]
    if held_out:
        points = [line["step"] for line in held_out], [line["held_out_loss"] for line in held_out]
        curves.append((*points, {"color": _RED, "marker": "o", "label": "held out"}))
    _plot_curves(path, "loss (nats)", curves)


def smooth(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """An exponential moving average, without the pull of its start (arXiv:1412.6980, section 3)."""
    means, mean = list[float](), 0.0
    for number, value in enumerate(values, 1):
        mean = weight * mean + (1 - weight) * value
        means.append(mean / (1 - weight**number))
    return means


def _plot_curves(
    path: Path, title: str, curves: Sequence[tuple[Sequence[float], Sequence[float], dict[str, Any]]]
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    for numbers, values, style in curves:
        axes.plot(numbers, values, **style)
    axes.set_xlabel("step")
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Software": None})
