"""Warn of what a chat template and a tokenizer make of rows that their author may not expect.

check = TemplateCheck(tokenizer, model)
for row in rows:
    check.add(row, last_tokens)
print(*check.warnings(), sep="\n")

Nothing is read out of the template's text: rows are rendered and compared. Those of each shape are, and a sample of the
others; control tokens are looked for in every row.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

from training.data.conversation import Conversation
from training.data.rows import TrainingRow
from training.data.templates.control_tokens import ControlTokens
from training.data.templates.learnt_ends import learnt_ends, served_ends
from training.data.templates.shown_messages import (
    Shown,
    find_changed_messages,
    num_leading_bos,
    shows_date,
    template_token_ids,
)
from training.data.templates.special_tokens import added_token_texts, special_token_texts

MAX_EXAMPLES = 20
_LOGGED_EXAMPLES = 3
_ROWS_OF_A_SHAPE = 5
_SAMPLE = 50
"""One row in so many is compared with its rendering, whatever its shape."""

_OTHER_TEMPLATE = "use a chat template that shows it: put chat_template.jinja beside the tokenizer"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TemplateWarning:
    """What is wrong with some rows in a chat template, in whole sentences, and what to do about it.

    `examples` are up to 20 rows as file:line, with what was found there.
    """

    problem: str
    remedy: str
    num_rows: int = 0
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.shown(len(self.examples))

    def shown(self, num_examples: int) -> str:
        """The warning as text, with the first examples, one per line."""
        listed = "".join(f"\n  {example}" for example in self.examples[:num_examples])
        more = self.num_rows - min(num_examples, len(self.examples))
        return f"{self.problem} {self.remedy}{listed}" + (f"\n  and {more:,} more" if listed and more > 0 else "")


class TemplateCheck:
    """Reads rows as they are encoded, and knows at the end what to warn of."""

    def __init__(self, tokenizer: Any, model: str, control_tokens: Literal["warn", "refuse"] = "warn") -> None:
        self._tokenizer, self._model, self._refuses = tokenizer, model, control_tokens == "refuse"
        self._num_rows = 0
        self._last_tokens: Counter[int] = Counter()
        self._with_control: list[str] = []
        self._num_with_control = 0
        self._shapes: Counter[tuple[Any, ...]] = Counter()
        self._num_compared: Counter[str] = Counter()
        self._changed: dict[tuple[str, Shown], list[str]] = defaultdict(list)
        self._first: Conversation | None = None

    def add(self, row: TrainingRow, last_tokens: Sequence[int]) -> None:
        """Look at a row.

        Args:
            last_tokens: the last token of each of its sequences.

        Raises:
            ValueError: the row has control tokens in its text, and such rows are refused.
        """
        found = self._control_tokens.find_in_row(row)
        if found and self._refuses:
            raise ValueError(f"the control token {found[0].text} is in the text ({_place(found[0].role)})")
        self._num_rows += 1
        if found:
            self._num_with_control += 1
            if len(self._with_control) < MAX_EXAMPLES:
                self._with_control.append(f"{row.where}: {found[0].text} ({_place(found[0].role)})")
        if row.text is None:
            self._last_tokens.update(last_tokens)
            self._first = self._first or row.conversation
            self._compare(row)

    @property
    def learnt_ends(self) -> tuple[int, ...]:
        """The tokens that end the answers of the rows, by their id; empty where the template ends them without one."""
        return learnt_ends(self._last_tokens, self._ending_tokens)

    @property
    def ends_not_served(self) -> tuple[int, ...]:
        """Those of `learnt_ends` at which vLLM does not end an answer of the base model."""
        return tuple(sorted(set(self.learnt_ends).difference(served_ends(self._tokenizer, self._model))))

    def warnings(self) -> tuple[TemplateWarning, ...]:
        """What the rows that were added give reason to warn of; the gravest first."""
        if self._first is None:
            return tuple(self._of_control_tokens())
        return (*self._of_ends(), *self._of_control_tokens(), *self._of_messages(), *self._of_renderings(self._first))

    @cached_property
    def _control_tokens(self) -> ControlTokens:
        return ControlTokens(self._tokenizer, template_token_ids(self._tokenizer))

    @cached_property
    def _ending_tokens(self) -> dict[int, str]:
        return added_token_texts(self._tokenizer) | special_token_texts(self._tokenizer)

    def _compare(self, row: TrainingRow) -> None:
        roles = [str(message["role"]) for message in row.messages]
        longest = max((len(str(message.get("content"))) for message in row.messages), default=0)
        shape = (roles[0], min(len(roles), 6), longest.bit_length(), tuple(row.conversation.template_kwargs))
        self._shapes[shape] += 1
        if self._shapes[shape] > _ROWS_OF_A_SHAPE and self._num_rows % _SAMPLE:
            return
        self._num_compared.update(set(roles))
        for changed in dict.fromkeys(find_changed_messages(self._tokenizer, row.conversation)):
            self._changed[changed.role, changed.how].append(row.where)

    def _of_ends(self) -> Iterator[TemplateWarning]:
        ends, num_answers = self.learnt_ends, self._last_tokens.total()
        without = num_answers - sum(self._last_tokens[end] for end in ends)
        if without:
            yield TemplateWarning(
                f"No token ends {without:,} of {_count(num_answers, 'answer')}: the chat template closes a turn of the "
                "assistant with ordinary text. The model learns no end there, and its answers run on until "
                "`max_tokens`.",
                self._remedy_of_ends(),
                without,
            )
        if new := self.ends_not_served:
            names = " and ".join(f"{self._ending_tokens[end]} ({end})" for end in new)
            known = " and ".join(self._name(end) for end in served_ends(self._tokenizer, self._model)) or "no token"
            yield TemplateWarning(
                f"Answers are learnt with the end {names}, and the base model is served with {known} as the end.",
                "`tandem train` keeps the learnt end with the version, and `tandem serve` ends this version's answers "
                f"there. Elsewhere pass `stop_token_ids: {list(new)}` with each request, or add the token to "
                "`eos_token_id` in the model's generation_config.json.",
                sum(self._last_tokens[end] for end in new),
            )

    def _remedy_of_ends(self) -> str:
        if self._tokenizer.eos_token is None:
            return (
                "Set `eos_token` in tokenizer_config.json, and put `{{ eos_token }}` behind each answer in the chat "
                "template (chat_template.jinja beside the tokenizer)."
            )
        return (
            f"Put `{{{{ eos_token }}}}` ({self._tokenizer.eos_token}) behind each answer in the chat template "
            "(chat_template.jinja beside the tokenizer), or name an instruct model."
        )

    def _of_control_tokens(self) -> Iterator[TemplateWarning]:
        if self._num_with_control:
            yield TemplateWarning(
                f"Control tokens are in the text of {_count(self._num_with_control, 'row')}. The tokenizer reads them "
                "as the tokens that part a conversation: in a question they forge a turn, in an answer the model "
                "learns to write them there.",
                "Write them in another way (`< |end| >`), or remove the rows. With `training.control_tokens: refuse` "
                "such rows cannot be used.",
                self._num_with_control,
                tuple(self._with_control),
            )

    def _of_messages(self) -> Iterator[TemplateWarning]:
        for (role, how), places in self._changed.items():
            message = "answers" if role == "assistant" else f"{role} messages"
            compared = f"{len(places):,} of {_count(self._num_compared[role], 'row')} compared"
            examples = tuple(places[:MAX_EXAMPLES])
            if how == "left out":
                problem = f"The chat template leaves out {message}: the model sees nothing of them ({compared})."
            elif how == "trimmed":
                problem = f"The chat template removes white space around answers, which is not learnt ({compared})."
            elif how == "cut":
                problem = f"The chat template cuts {message}: the model does not see their ends ({compared})."
            else:
                problem = f"The chat template changes {message}: the model sees them in other characters ({compared})."
            yield TemplateWarning(problem, _remedy_of_message(role, how), len(places), examples)

    def _of_renderings(self, conversation: Conversation) -> Iterator[TemplateWarning]:
        dated, argument = shows_date(self._tokenizer, conversation)
        if dated:
            fixed = (
                f"`training.chat_template_kwargs: {{{argument}: ...}}`, which the endpoint asks with as well"
                if argument
                else "a date in the text of the chat template"
            )
            yield TemplateWarning(
                "The chat template writes today's date into each prompt: the rows have the day of the training, and "
                "questions are asked on later days.",
                f"Where answers must not depend on it, fix the date with {fixed}.",
                self._num_rows,
            )
        if num_leading_bos(self._tokenizer, conversation) > 1:
            yield TemplateWarning(
                f"The chat template begins a conversation with {self._tokenizer.bos_token} more than once.",
                "Remove one of them from the chat template (chat_template.jinja beside the tokenizer).",
                self._num_rows,
            )

    def _name(self, token: int) -> str:
        text = self._ending_tokens.get(token) or self._tokenizer.convert_ids_to_tokens(token)
        return f"{text} ({token})"


def warn_of_template(warnings: Sequence[TemplateWarning]) -> None:
    """Log each warning once, however many trainings of one command have it."""
    for warning in warnings:
        _log_once(warning.shown(_LOGGED_EXAMPLES))


@cache
def _log_once(text: str) -> None:
    _log.warning("%s", text)


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'s' * (number != 1)}"


def _place(role: str) -> str:
    return {"text": "in the text", "tools": "in the tools"}.get(role, f"in the {role} message")


def _remedy_of_message(role: str, how: Shown) -> str:
    if role in ("system", "developer") and how == "left out":
        return f"Write that text into the row's first question, or {_OTHER_TEMPLATE}."
    if how == "trimmed":
        return "Nothing has to be done where that white space has no meaning."
    return f"Where that is not meant, {_OTHER_TEMPLATE}."
