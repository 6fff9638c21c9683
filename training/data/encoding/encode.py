"""Encode many rows: chunk by chunk, in processes of its own where there are many, always in the order of the rows.

The processes are started by `python -m training.data.encoding.process` and not by multiprocessing, which would import
the caller's main module again.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from training.data.answer_masks import encode_conversation, encode_last_answer
from training.data.conversation import Conversation
from training.data.duplicates import RowMarks, row_marks
from training.data.encoding.encoded_rows import EncodedSequence
from training.data.encoding.windows import encode_text
from training.data.rows import TrainingRow

CHUNK_ROWS = 256
MIN_ROWS = 6000
"""Fewer rows are encoded here: the start of the processes would take longer."""

MAX_PROCESSES = 16
PROCESS_BYTES = 600 * 2**20
"""Main memory that a process may take: libraries, and the tokenizer of a large vocabulary."""

_CHARACTERS_A_TOKEN = 64
_MARGIN = 2


@dataclass(frozen=True)
class Encoding:
    """How rows are encoded.

    A sequence of more than `max_tokens` makes a row bad, and so does a preference pair whose answers together have more
    than `max_pass_tokens`. A text that is surely longer than `sure_above` tokens is not encoded to its end.
    """

    tokenizer: Any
    max_tokens: int | None = None
    max_pass_tokens: int | None = None
    sure_above: int | None = None
    with_marks: bool = False
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the chat template for every row; those of a row come before them."""

    window: int | None = None
    """Most tokens of the sequences that a text is cut into."""

    def with_settings(self, conversation: Conversation) -> Conversation:
        """The conversation with the settings of the template that it is rendered with."""
        if not self.template_kwargs:
            return conversation
        return replace(conversation, template_kwargs={**self.template_kwargs, **conversation.template_kwargs})


@dataclass(frozen=True)
class Refusal:
    """Why a row cannot be used; `num_tokens` where it is so long that no more is known than that it has so many."""

    reason: str
    num_tokens: int = 0


@dataclass(frozen=True)
class EncodedChunk:
    """Neighbouring rows, each as its sequences or a refusal, and the marks of the usable ones where asked for."""

    results: list[tuple[EncodedSequence, ...] | Refusal]
    marks: RowMarks | None


def encode_in_chunks(rows: Sequence[TrainingRow], encoding: Encoding) -> Iterator[EncodedChunk]:
    """Encode all rows; chunks come in the order of the rows, however many processes encode them.

    Raises:
        TandemError: a process ended before its work did.
    """
    num_processes = count_processes(len(rows))
    starts = range(0, len(rows), CHUNK_ROWS)
    if not num_processes:
        for start in starts:
            yield encode_chunk(list(rows[start : start + CHUNK_ROWS]), encoding)
        return
    with _started_processes(num_processes, encoding) as processes:
        for number, process in enumerate(processes[: len(starts)]):
            process.send(list(rows[starts[number] : starts[number] + CHUNK_ROWS]))
        for number in range(len(starts)):
            process = processes[number % num_processes]
            chunk = process.receive()
            if number + num_processes < len(starts):
                start = starts[number + num_processes]
                process.send(list(rows[start : start + CHUNK_ROWS]))
            yield chunk


def count_processes(num_rows: int) -> int:
    """How many processes encode so many rows; 0 where this one does it alone."""
    # Imported here, since few rows need neither.
    from joblib import cpu_count

    from cluster.hardware import available_bytes

    if num_rows < MIN_ROWS:
        return 0
    num = min(int(cpu_count()), int(available_bytes() // PROCESS_BYTES), MAX_PROCESSES, num_rows // (MIN_ROWS // 3))
    return num if num > 1 else 0


def encode_chunk(rows: Sequence[TrainingRow], encoding: Encoding) -> EncodedChunk:
    """Encode some rows in this process."""
    results = [_encode(row, encoding) for row in rows]
    usable = [row for row, result in zip(rows, results, strict=True) if not isinstance(result, Refusal)]
    return EncodedChunk(results, row_marks(usable) if encoding.with_marks else None)


def too_long_reason(num_tokens: int, max_tokens: int) -> str:
    """Why a row of so many tokens cannot be used."""
    return f"{num_tokens} tokens long, and at most {max_tokens} are accepted"


def too_long_pair_reason(num_tokens: int, max_tokens: int) -> str:
    """Why a preference pair of so many tokens cannot be used."""
    return (
        f"its two answers with their prompt have {num_tokens} tokens, and a forward pass takes {max_tokens} "
        "(raise `training.micro_batch_size` or `training.sequence_length`)"
    )


def _encode(row: TrainingRow, encoding: Encoding) -> tuple[EncodedSequence, ...] | Refusal:
    try:
        if (
            row.text is None
            and encoding.sure_above
            and (least := _tokens_at_least(row, encoding.tokenizer, encoding.sure_above))
        ):
            return Refusal(f"more than {too_long_reason(least, encoding.sure_above)}", least)
        sequences = _encode_row(row, encoding)
    except ValueError as error:
        return Refusal(str(error))
    longest = max(len(sequence.token_ids) for sequence in sequences)
    if encoding.max_tokens and longest > encoding.max_tokens:
        return Refusal(too_long_reason(longest, encoding.max_tokens))
    total = sum(len(sequence.token_ids) for sequence in sequences)
    if row.rejected and encoding.max_pass_tokens and total > encoding.max_pass_tokens:
        return Refusal(too_long_pair_reason(total, encoding.max_pass_tokens))
    return sequences


def _encode_row(row: TrainingRow, encoding: Encoding) -> tuple[EncodedSequence, ...]:
    conversation, tokenizer = encoding.with_settings(row.conversation), encoding.tokenizer
    if row.text is not None:
        assert encoding.window is not None, "a text is cut into windows of some length"
        examples = encode_text(tokenizer, row.text, encoding.window)
    elif row.label is not None:
        _check_answer_counts_whole(conversation)
        examples = [encode_last_answer(tokenizer, conversation)]
    elif row.rejected:
        _check_answer_counts_whole(conversation)
        sides = (conversation, conversation.with_messages(row.rejected))
        examples = [encode_last_answer(tokenizer, side) for side in sides]
    else:
        examples = encode_conversation(tokenizer, conversation)
    if not examples:
        raise ValueError("teaches nothing: all its answers have the loss weight 0")
    return tuple(map(EncodedSequence.of, examples))


def _check_answer_counts_whole(conversation: Conversation) -> None:
    if conversation.loss_weight(len(conversation.messages) - 1) != 1:
        raise ValueError("gives its answer a loss weight, and an answer that is compared with others counts whole")


def _tokens_at_least(row: TrainingRow, tokenizer: Any, limit: int) -> int:
    """A number of tokens over `limit` that a long row surely has; 0 where it may have fewer.

    A beginning of its longest text is tokenized, and twice as much while that is not enough. Where the text goes on,
    its last tokens may become others, but not so many that half of them disappear.
    """
    texts = [*(_text_of(message) for message in (*row.messages, *(row.rejected or ())))]
    text, size = max(texts, key=len), _CHARACTERS_A_TOKEN * limit
    while size < len(text):
        num_tokens = len(tokenizer(text[:size], add_special_tokens=False, verbose=False)["input_ids"])
        if num_tokens > _MARGIN * limit:
            return num_tokens // _MARGIN
        size *= 2
    return 0


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


class _Process:
    """A process that encodes one chunk after the other."""

    def __init__(self, encoding: Encoding) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "training.data.encoding.process"],
            env={**os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        self.send(encoding)

    def send(self, value: Any) -> None:
        assert self._process.stdin
        try:
            pickle.dump(value, self._process.stdin, pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended_early() from error

    def receive(self) -> EncodedChunk:
        assert self._process.stdout
        try:
            chunk: EncodedChunk = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._ended_early() from error
        return chunk

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                with suppress(BrokenPipeError):  # its input buffer cannot be written any more
                    stream.close()

    def _ended_early(self) -> TandemError:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return TandemError(
            f"A process that encodes training rows ended early ({how}{': ' + lines[-1] if lines else ''}).",
            "Main memory for it, and a model whose tokenizer can be loaded.",
            "Give the command more memory (signal 9 is mostly a lack of it), and run it again.",
        )


@contextmanager
def _started_processes(number: int, encoding: Encoding) -> Iterator[list[_Process]]:
    with ExitStack() as stack:
        processes = []
        for _ in range(number):
            processes.append(_Process(encoding))
            stack.callback(processes[-1].stop)
        yield processes
