"""The `training:` section of the project file."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator

from cluster.config import LocalPath, Name, Section
from cluster.template_arguments import check_template_arguments

# Project files and run folders of earlier versions hold these keys. `search` is looking up and nothing else today.
FORMER_NAMES: dict[str, str] = {"search": "tune"}

ObjectiveName = Literal["sft", "dpo", "kto", "text"]

LOGIT_CHUNK_TOKENS = 1024
"""Answer tokens whose logits exist at one time (training.model.loss); the memory plan counts with it."""


class DataSource(Section):
    """Rows from one file, or from one split of a hub data set."""

    path: LocalPath | None = None
    """A file with rows, or a folder that `save_to_disk` wrote; docs/training.md lists the kinds."""

    hub: str | None = None
    """The id of a data set on the hub, instead of a file."""

    split: str = "train"
    """Which split of a hub data set."""

    weight: float = Field(default=1.0, gt=0)
    """How often each row is seen in an epoch: 2 is twice, 0.5 is a half of the rows, drawn anew in each epoch."""

    ignore: tuple[str, ...] = ()
    """Keys of its rows that change nothing, although Tandem does not know them; those of messages as
    `messages.KEY`. A row with any other unknown key is refused."""

    @model_validator(mode="after")
    def _one_place(self) -> "DataSource":
        if (self.path is None) == (self.hub is None):
            raise ValueError("a data source has either a `path` or a `hub` data set")
        return self

    @property
    def name(self) -> str:
        """The source's name in messages: its path, or the data set with its split."""
        return str(self.path) if self.path else f"{self.hub}[{self.split}]"


class WorkerRange(Section):
    """A number of workers that may change while a training runs."""

    min: int = Field(ge=1)
    """Minimum number of workers; the training continues with as few as these."""

    max: int = Field(ge=1)
    """Maximum number of workers. The global batch is that of this number, however many workers there are."""

    @model_validator(mode="after")
    def _in_order(self) -> "WorkerRange":
        if self.min > self.max:
            raise ValueError("`min` is larger than `max`")
        return self


class AutoWorkers(WorkerRange):
    """As many workers as there are GPUs; two where there are none, which `min` and `max` say until that is known."""

    min: int = 2
    max: int = 2


class TuningConfig(Section):
    """Several trainings with different settings, the best of which is published."""

    space: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(min_length=1)
    """Settings of `training` by name, each with the values to try, as in `learning_rate: [1.0e-4, 3.0e-4]`."""

    num_trials: int = Field(default=8, ge=1)
    """Maximum number of trials, which are drawn from all combinations. With fewer combinations each is tried once."""

    max_concurrent: int = Field(default=1, ge=1)
    """Trials that run at the same time. Each takes the workers that `training.workers` asks for."""

    reduction_factor: int = Field(default=3, ge=2)
    """ASHA (arXiv:1810.05934) keeps one trial in this many at each rung. With 3, the rungs are at a ninth, a third and
    the end of a training."""

    max_hours: float | None = Field(default=None, gt=0)
    """Time budget in hours. Trials that still run then are stopped, and the best finished trial is published."""


def _sources(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    return [{"path": each} if not isinstance(each, dict | DataSource) else each for each in values]


def _workers(value: Any) -> Any:
    return {"min": value, "max": value} if isinstance(value, int) and not isinstance(value, bool) else value


Sources = Annotated[tuple[DataSource, ...], BeforeValidator(_sources)]


class TrainingConfig(Section):
    """How rows become an adapter or a tuned model."""

    data: Sources = ()
    """A file with rows (JSONL, CSV, Parquet ...), or a list of sources: `path` or `hub`, a `weight`, and keys to
    `ignore`. The format (chat messages, prompt and completion, alpaca, sharegpt, question and answer, preference pairs,
    texts) is recognised by its content; docs/training.md shows them."""

    held_out: float = Field(default=0.05, ge=0, lt=1)
    """Share of rows kept out of training, for a held-out loss and for the log-probabilities of the parity check."""

    held_out_data: Sources = ()
    """Files whose rows are held out, instead of a share of the training rows."""

    max_bad_rows: int = Field(default=0, ge=0)
    """How many rows that cannot be used are left out with a warning; one more ends the command."""

    control_tokens: Literal["warn", "refuse"] = "warn"
    """What is done with a row whose text has control tokens as words, such as `<|im_end|>` in a question: it is learnt
    as it will be served, with a warning, or counts as a row that cannot be used (`refuse`)."""

    adapter: Name | None = None
    """The name to publish under; the project's name where it is not set."""

    consecutive_turns: Literal["refuse", "merge"] = "refuse"
    """What becomes of messages of one role that follow each other: their row is refused, or they are joined by an
    empty line."""

    chat_template_kwargs: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Arguments of the model's chat template for every row, such as `{enable_thinking: false}`; those of a row
    (`chat_template_kwargs`) come before them. What all rows were trained with becomes the adapter's default where it is
    served."""

    objective: ObjectiveName = "sft"
    """Learn the answers (`sft`), to prefer `chosen` over `rejected` answers (`dpo`, arXiv:2305.18290), to give answers
    that are labelled as desired and not those labelled as undesired (`kto`, arXiv:2402.01306), or every token of plain
    texts (`text`, continued pre-training). docs/objectives.md says which rows each takes."""

    dpo_beta: float = Field(default=0.1, gt=0)
    """How closely DPO keeps to the base model; larger is closer."""

    kto_beta: float = Field(default=0.1, gt=0)
    """How closely KTO keeps to the base model; larger is closer."""

    kto_desirable_weight: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """What each desired answer counts in KTO. `auto` is the weight nearest to 1 with which all desired answers together
    count 1 to 4/3 times what the undesired ones do."""

    kto_undesirable_weight: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """What each undesired answer counts in KTO; `auto` as for `kto_desirable_weight`."""

    method: Literal["lora", "dora", "qlora", "full"] = "lora"
    """What is trained: low-rank matrices beside frozen weights (`lora`, arXiv:2106.09685), with a magnitude per output
    (`dora`, arXiv:2402.09353), over weights in 4 bits (`qlora`, arXiv:2305.14314, GPU only), or all weights
    (`full`)."""

    rank: int = Field(default=32, ge=1, le=512)
    """Rank of the low-rank matrices. Serving must allow it (`serving.max_lora_rank`)."""

    alpha: int = Field(default=64, ge=1)
    """The adapter's output is scaled by alpha / rank."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are set to zero while training."""

    target_modules: str | list[str] = "all-linear"
    """Names of the layers that get an adapter, or `all-linear`: every linear layer but the output head, and in a
    mixture of experts none of the experts and routers."""

    modules_to_save: list[str] = Field(default_factory=list)
    """Names of layers that are trained whole beside the adapter, such as `lm_head`. Published merged."""

    epochs: int = Field(default=3, ge=1)
    """How many times every training row is seen."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up: to zero along a cosine or a line, or not at all."""

    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of all steps in which the learning rate rises from zero to its peak."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of AdamW."""

    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients with a larger norm are scaled down to it."""

    micro_batch_size: int = Field(default=4, ge=1)
    """One forward pass of one worker takes whole rows of up to micro_batch_size * sequence_length tokens together."""

    gradient_accumulation: int = Field(default=1, ge=1)
    """Forward passes per worker before the weights change; with fewer workers than `workers.max` each makes more."""

    sequence_length: int = Field(default=1024, ge=8)
    """Longest row in tokens; a longer one is an error, never cut silently."""

    packing: bool = True
    """Lay rows end to end, with no attention from one to another. Without it each row is padded to the longest."""

    workers: Annotated[WorkerRange, BeforeValidator(_workers)] = AutoWorkers()
    """Data-parallel worker processes, on a GPU cluster one GPU each: a number, or `{min: 1, max: 4}` for a training
    that continues with fewer while nodes are missing. `auto` is one for each GPU that there is (of the first node
    that an autoscaler brings, where none is up), and two without GPUs. The global batch follows from it."""

    zero_stage: Literal["auto", 0, 1, 2, 3] = "auto"
    """What DeepSpeed ZeRO (arXiv:1910.02054) shares out: 1 optimizer state, 2 gradients as well, 3 weights as well.
    `auto` takes the first that fits the memory (`tandem plan` shows it)."""

    offload: Literal["auto", "none", "cpu", "nvme"] = "auto"
    """Where optimizer state lies: on the device, in main memory, or on a disk. `auto` offloads where nothing
    else fits."""

    nvme_path: LocalPath | None = None
    """A folder on a fast local disk of every node, for `offload: nvme`."""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format of weights and activations; the optimizer keeps fp32 copies of what it trains. `auto` is bf16, and
    fp32 on a CPU without instructions for bf16."""

    gradient_precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Number format that bf16 gradients are added up and exchanged in. `auto` is fp32 on GPUs with more than four
    forward passes per step or more than 16 workers, where small contributions would be lost, and bf16 elsewhere. fp32
    takes ZeRO 2 or 3."""

    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third more time."""

    liger: bool = True
    """Use Liger's fused kernels on a GPU where they are installed."""

    seed: int = Field(default=0, ge=0)
    """Decides the adapter's first weights, the held-out rows and the order of rows; on CPU it repeats a run exactly."""

    eval_steps: int | None = Field(default=None, ge=1)
    """Steps between two held-out losses; at the end of each epoch where it is not set."""

    early_stopping: int | None = Field(default=None, ge=1)
    """End after this many held-out losses in a row that are no better than the best, and publish the best weights."""

    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; a twentieth of the training where it is not set."""

    checkpoint_upload: Literal["async", "sync"] = "async"
    """Copy a checkpoint to the storage while the training continues, or let the training wait for the copy."""

    keep_checkpoints: int = Field(default=2, ge=1)
    """Number of checkpoints that are kept."""

    keep_by: Literal["last", "held_out_loss"] = "last"
    """Which checkpoints are kept: the last ones, or those with the lowest held-out loss (and the last one)."""

    max_failures: int = Field(default=3, ge=0)
    """How many times the workers are started again after a failure before the training gives up."""

    parity_tolerance: Annotated[float, Field(gt=0)] | Literal["auto"] | None = "auto"
    """A version goes live when vLLM gives log-probabilities that are at most this far from the trainer's, in nats per
    answer token on average over held-out rows. `auto`: twice as far as those of the base are apart on the same machine,
    at least 0.05 and at most 0.25. Null: it goes live unchecked."""

    mlflow: str | None = None
    """Tracking URI of MLflow, where the metrics go beside metrics.jsonl and TensorBoard, and the results of
    `tandem compare` beside its report."""

    wandb: str | None = None
    """Project of Weights & Biases, where the same goes. The environment has its key and mode, in its own names:
    `WANDB_API_KEY`, or `WANDB_MODE=offline` for files in the run's folder and no network."""

    trackio: str | None = None
    """Project of Trackio, where the same goes: in files on the node that trains (`TRACKIO_DIR`)."""

    tune: TuningConfig | None = Field(default=None, validation_alias=AliasChoices("tune", "search"))
    """Try several settings (Ray Tune) and publish the training with the lowest held-out loss."""

    deepspeed: dict[str, Any] = Field(default_factory=dict)
    """A DeepSpeed configuration merged over ours; a key that Tandem computes cannot be set to another value."""

    ray_options: dict[str, Any] = Field(default_factory=dict)
    """Ray Train's ScalingConfig in its own words, such as `resources_per_worker`; `num_workers` is `workers`."""

    @model_validator(mode="before")
    @classmethod
    def _not_under_both_names(cls, values: Any) -> Any:
        for former, current in FORMER_NAMES.items():
            if isinstance(values, dict) and {former, current} <= values.keys():
                raise ValueError(f"`{former}` is the former name of `{current}`; write one of them")
        return values

    @model_validator(mode="before")
    @classmethod
    def _auto_workers_are_not_set(cls, values: Any) -> Any:
        """So that copies made of what is set keep `auto`."""
        if isinstance(values, dict) and values.get("workers") == "auto":
            return {key: value for key, value in values.items() if key != "workers"}
        return values

    @field_validator("chat_template_kwargs")
    @classmethod
    def _can_be_set(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        check_template_arguments(arguments, "`chat_template_kwargs`")
        return arguments

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingConfig":
        if self.modules_to_save and self.method == "full":
            raise ValueError("`modules_to_save` belongs to an adapter; `method: full` trains every module")
        if self.objective in ("dpo", "kto") and self.method == "full":
            raise ValueError(
                f"`objective: {self.objective}` takes the base model as its reference by switching the adapter off; "
                "use an adapter method"
            )
        if self.offload == "nvme" and self.nvme_path is None:
            raise ValueError("`offload: nvme` needs `nvme_path`")
        if self.early_stopping and not (self.held_out or self.held_out_data):
            raise ValueError("`early_stopping` needs held-out rows: set `held_out` or `held_out_data`")
        return self
