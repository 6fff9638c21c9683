"""The `evaluation` section of a project file. Importable without a client and without scipy."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from cluster.config import LocalPath, Name, Section

BuiltIn = Literal["base", "few_shot", "retrieval", "tuned", "tuned_retrieval", "raft"]
BUILT_IN: tuple[BuiltIn, ...] = ("base", "few_shot", "retrieval", "tuned", "tuned_retrieval", "raft")
# The same arms with their model's thinking asked for, or asked not to be there.
VARIANTS: dict[str, tuple[BuiltIn, bool]] = {
    f"{arm}_{suffix}": (arm, thinks)
    for arm in BUILT_IN for suffix, thinks in (("thinking", True), ("no_thinking", False))
}  # fmt: skip
FOUR_ARMS: tuple[BuiltIn, ...] = ("base", "tuned", "retrieval", "tuned_retrieval")
# Project files, reports and kept answers of earlier versions hold these names. `hybrid` is dense + BM25 alone today.
FORMER_NAMES: dict[str, str] = {"hybrid": "tuned_retrieval"}


def current_name(arm: str) -> str:
    """The name that an arm has today, for a name that a file holds."""
    return FORMER_NAMES.get(arm, arm)


def built_in(arm: str) -> str:
    """The built-in arm that an arm is a variant of; the arm itself where it is none."""
    return VARIANTS[arm][0] if arm in VARIANTS else arm


ArmName = Annotated[str, AfterValidator(current_name)]
"""An arm's name. Every model that is read from a file replaces a former name by today's."""


Parameter = Literal[
    "max_tokens", "temperature", "logprobs", "top_logprobs", "seed", "stop", "stream_options", "top_p"
]  # fmt: skip


CALL_FIELDS = frozenset({"model", "messages", "stream"})
"""Fields of a request that each call sets: no setting may take their place."""


class RequestSettings(Section):
    """How a model at another endpoint is called, where that differs from how Tandem's own endpoint is."""

    api_key: SecretStr | None = None
    """Its API key, best as `${NAME}`: it is neither printed nor kept. It is sent as `Authorization: Bearer ...`."""

    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """More headers, such as Azure's `{api-key: ${NAME}}`. Their values are neither printed nor kept."""

    parameters: dict[Parameter, Annotated[str, Field(pattern=r"^\w+$")] | None] = Field(default_factory=dict)
    """Parameters that the endpoint calls otherwise or refuses: `{max_tokens: max_completion_tokens, temperature: null}`
    renames one and leaves one out. Without: what the endpoint refuses in so many words is found at the first call."""

    extra_body: dict[str, Any] = Field(default_factory=dict)
    """More fields of the request's body, such as `{reasoning_effort: low}`; they replace those of the same name."""

    @field_validator("parameters")
    @classmethod
    def _new_names(cls, parameters: dict[Parameter, str | None]) -> dict[Parameter, str | None]:
        """A new name takes no other field's place: that of the question, or of another parameter."""
        names = [new for name, new in parameters.items() if new is not None and new != name]
        others = {*CALL_FIELDS, *get_args(Parameter)}
        if taken := sorted({new for new in names if new in others or names.count(new) > 1}):
            raise ValueError(f"parameters may not rename one to {', '.join(taken)}, which is another field of a call")
        return parameters

    @field_validator("extra_body")
    @classmethod
    def _leaves_the_question(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(CALL_FIELDS & fields.keys()):
            raise ValueError(f"extra_body may not name {', '.join(taken)}, which each call sets")
        return fields


class EndpointArm(RequestSettings):
    """Any other OpenAI-compatible endpoint as an arm: a hosted model, or one of your own."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    """Its URL, with or without /v1. A query, such as Azure's `?api-version=...`, is sent with each call."""

    model: Annotated[str, Field(min_length=1)]
    """The model's name there."""

    input_price: Annotated[float, Field(ge=0)] | None = None
    """Money for a million prompt tokens, in `prices.currency`."""

    output_price: Annotated[float, Field(ge=0)] | None = None
    """Money for a million tokens of answers."""


class Prices(Section):
    """What things cost, as you state it. Nothing is assumed: without a price there is no sum of money."""

    currency: str = "USD"
    """The unit of every sum."""

    machine_hour: Annotated[float, Field(ge=0)] | None = None
    """One hour of all that serves the endpoint: its GPUs with all that is around them, on every machine."""

    training_gpu_hour: Annotated[float, Field(ge=0)] | None = None
    """One hour of one training worker. Default: `machine_hour`."""

    trainings_per_month: Annotated[float, Field(ge=0)] = 1.0
    """How often the model is trained anew to keep up with what changes."""

    indexings_per_month: Annotated[float, Field(ge=0)] = 1.0
    """How often the whole collection is made anew, or as much work as that."""


class Judge(RequestSettings):
    """A model that grades against rubrics; its grades count only where it agrees with people."""

    model: Annotated[str, Field(min_length=1)]
    """The judge's name at its endpoint; the project's own models are called as for an arm."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Its endpoint, with or without /v1. Default: the project's own."""

    calibration: LocalPath
    """Rows graded by hand: JSONL with question, rubric, answer and `right` (true or false)."""

    least_agreement: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Cohen's kappa between judge and people below which the judge's grades are not used. The lower end of its 95 %
    interval counts."""


class Raft(Section):
    """How the arm `raft` is trained, where that differs from `training`."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    """Times that its rows are seen; they are longer than others, since passages stand in them. Default:
    `training.epochs`."""

    max_rows: Annotated[int, Field(ge=1)] | None = None
    """At most so many training rows are turned into rows for it, drawn by `seed`. Default: all."""


class Gates(Section):
    """What a new version is tested for before `tandem adapters promote` makes it live. A gate refuses a version that is
    worse than chance explains, and passes one whose 95 % interval excludes the loss that is named here."""

    most_loss: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of all questions: a version passes where the interval of its loss against the live version stays below."""

    most_part_loss: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The same for a part of the questions, which is smaller: each slice, the unanswerable and the general ones."""

    most_forgetting: Annotated[float, Field(ge=0, le=1)] | None = None
    """The same for the general questions, against the base model. Default: `most_part_loss`."""

    most_new_false_answers: Annotated[float, Field(ge=0, le=1)] | None = None
    """The same for false answers to unanswerable questions. Default: `most_part_loss`."""

    undecided_holds: Literal["any", "overall", "never"] = "any"
    """Which gates keep a version from going live where their questions are not enough to tell: any of them, only those
    of all questions together (`answered`, `clear`, `overall`), or none."""


class Retries(Section):
    """When a call is tried again: the endpoint has too much to do (429), it fails (5xx), or the connection breaks."""

    max_tries: Annotated[int, Field(ge=1, le=100)] = 10
    """How often one call is tried at most. 1: no call is tried again."""

    max_wait_s: Annotated[float, Field(ge=0)] = 120.0
    """Seconds without any answer of the model after which its calls are not tried again. The endpoint's own wish
    (`Retry-After`) is followed up to this time."""


class EvaluationConfig(Section):
    """Which questions are asked, of which arms, how, and when there is no verdict."""

    questions: LocalPath | None = None
    """Test questions, JSONL or CSV: id, slice, question, answers, reference, sources, answerable, form, ..."""

    general: LocalPath | None = None
    """Questions on what the model knew before, in the same format: how much of it a training forgets."""

    arms: tuple[ArmName, ...] = FOUR_ARMS
    """What is compared: `base`, `few_shot` (base with examples in front), `retrieval` (base and documents), `tuned`
    (base and adapter), `tuned_retrieval` (both), `raft` (an adapter trained to read what is retrieved), or one of
    `endpoints`. With `_thinking` or `_no_thinking` behind it (`base_no_thinking`), an arm's model is asked to think
    before it answers, or not to; without, it does as its chat template has it.
    """

    endpoints: dict[Name, EndpointArm] = Field(default_factory=dict)
    """Other endpoints that can be named in `arms`."""

    few_shot: Annotated[int, Field(ge=1, le=64)] = 4
    """Training rows that the arm `few_shot` sees in front of each question."""

    raft: Raft = Raft()
    """How the arm `raft` is trained."""

    concurrency: Annotated[int, Field(ge=1, le=1024)] = 16
    """Calls in flight at once at each endpoint, over all arms that it answers for."""

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Sampling temperature, the same for every arm. 0 takes the likeliest token."""

    max_tokens: Annotated[int, Field(ge=1)] = 64
    """Longest answer, in tokens."""

    thinking_tokens: Annotated[int, Field(ge=0)] = 4096
    """Tokens more for the replies of an arm whose model thinks before it answers. Where the model has no room for as
    many, it gets what there is."""

    answer_line: bool = False
    """Ask every arm to end its reply with the answer on the last line, `Answer: ...`, and grade what stands there."""

    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a try of a call counts as failed, five times as many for an arm whose model thinks."""

    retries: Retries = Retries()
    """When and how long a call is tried again that the endpoint could not take."""

    give_up_after: Annotated[int, Field(ge=1)] = 20
    """Failures in a row after which the rest of an arm is recorded as failed without being asked."""

    max_failed_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of calls in any arm that failed, gave no answer or could not be graded above which there is no
    recommendation."""

    max_unclear_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of any arm's answers of which the rules cannot say whether they are right above which there is no
    recommendation."""

    corrections: LocalPath | None = None
    """Corrections of documents, JSONL with source, find, replace, question, old and new: how soon does each arm follow?
    They are made to a copy of the documents, in a collection of its own."""

    freshness_limit_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which an arm that still gives old answers is not waited for any more."""

    stages: Annotated[int, Field(ge=1, le=10)] = 1
    """In how many parts the questions are asked, each as large as all before it. After each part an arm that cannot win
    any more is not asked the rest: 4 save nearly half of the calls where most arms are clearly worse. 1 asks every arm
    everything, which shows each slice best."""

    repeats: Annotated[int, Field(ge=0, le=20)] = 0
    """How often each arm is asked a question again, to see whether it stays with its answer."""

    worth: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The difference in right answers that would matter to you: less is a tie."""

    prices: Prices = Prices()
    """What machines cost, for the cost of an answer and the break-even between arms."""

    judge: Judge | None = None
    """The model that grades questions with a rubric."""

    gates: Gates = Gates()
    """What a new version has to hold to be promoted."""

    seed: int = 0
    """Decides the order of the questions."""

    remarks: tuple[Annotated[str, Field(pattern=r"\S")], ...] = ()
    """Sentences that the report shows among what was assumed, such as that epochs were chosen on these questions."""

    @field_validator("arms")
    @classmethod
    def _each_once(cls, arms: tuple[ArmName, ...]) -> tuple[ArmName, ...]:
        if not arms or len(set(arms)) < len(arms):
            raise ValueError(f"arms names at least one arm, and each at most once{_same_arm(arms)}")
        return arms

    @model_validator(mode="after")
    def _known(self) -> "EvaluationConfig":
        if taken := sorted(set(self.endpoints) & {*BUILT_IN, *VARIANTS, *FORMER_NAMES}):
            raise ValueError(f"endpoints may not be called {', '.join(taken)}: these are arms of Tandem's own")
        known = [*BUILT_IN, *self.endpoints]
        if unknown := [arm for arm in self.arms if arm not in known and arm not in VARIANTS]:
            raise ValueError(
                f"arms names {', '.join(map(repr, unknown))}; known are {', '.join(known)}{_thinks(unknown)}"
            )
        return self


def _thinks(unknown: list[ArmName]) -> str:
    """How an arm of one's own endpoint is asked to think, for who tried something like it."""
    if not any("think" in arm for arm in unknown):
        return ""
    return (
        "; those before the endpoints also with `_thinking` or `_no_thinking` behind them. An endpoint is asked to "
        "think, or not to, by fields of its own"
    )


def _same_arm(arms: tuple[ArmName, ...]) -> str:
    """Explains a former name beside today's, which looks like two arms."""
    twice = {former: today for former, today in FORMER_NAMES.items() if arms.count(today) > 1}
    return "".join(f"; `{former}` is the former name of `{today}`" for former, today in twice.items())
