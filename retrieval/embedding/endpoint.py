"""Texts -> vectors, by an OpenAI-compatible API somewhere else (`POST {embedding_url}/embeddings`).

What goes wrong on the way is tried again by the client of the package `openai`: 408, 409, 429, 5xx, timeouts and lost
connections, after 0.5 s and then twice as long each time up to 8 s, or as long as the server's Retry-After says. What
comes back is checked before it is believed.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_folder
from cluster.fingerprints.models import find_folder
from cluster.hardware import Hardware
from retrieval.analysis.normalization import readable
from retrieval.config import EmbeddingConfig
from retrieval.embedding.batches import token_batches
from retrieval.embedding.fluency import TokenCounts, fluency
from retrieval.embedding.precision import Precision
from retrieval.errors import RetrievalUnavailable
from retrieval.prompt import estimate_tokens

if TYPE_CHECKING:
    from openai import OpenAI, OpenAIError

KEY_VARIABLE = "EMBEDDING_API_KEY"
MAX_RETRIES = 6
DOCUMENTS_S = 60.0
QUESTION_S = 10.0
# OpenAI takes 2,048 texts and 300,000 tokens in a request; smaller ones are answered sooner and lose less.
REQUEST_TOKENS, REQUEST_TEXTS = 16_384, 64
REQUESTS_AT_ONCE = 4
ROUND_CHUNKS = 1024
NO_LIMIT = 1_000_000


class EndpointEmbedder:
    """One embedding model behind an API. Thread-safe.

    Args:
        max_retries: how often a request for documents is sent again. A question is sent once: somebody waits for it.
        timeout_s: seconds without an answer after which a request for documents has failed.

    Raises:
        RetrievalUnavailable: (by any member that embeds) it does not answer, is overloaded or fails, again and again.
        TandemError: (by any member) it refuses the key or the texts, answers with something that is no embedding, or
            the tokenizer cannot be loaded.
    """

    round_chunks = ROUND_CHUNKS
    not_exported: str | None = None
    """Nothing of a model is here that could be exported."""
    precision: Precision = "stored"
    hardware = Hardware(())

    def __init__(self, config: EmbeddingConfig, max_retries: int = MAX_RETRIES, timeout_s: float = DOCUMENTS_S) -> None:
        assert config.embedding_url is not None
        self.name, self.url = config.embedding_model, config.embedding_url
        self.query_prefix, self.passage_prefix = config.query_prefix or "", config.passage_prefix or ""
        self.tokenizer, self._max_tokens = config.embedding_tokenizer, config.embedding_max_tokens
        self.max_retries, self.timeout_s = max_retries, timeout_s

    @property
    def identity(self) -> str:
        """The model's name. Not the address: the same model may be reached by another. Nobody can see from here that
        other weights are served under an old name; other dimensions are noticed."""
        return f"endpoint:{self.name}"

    @cached_property
    def tokenizer_identity(self) -> str:
        """What measured the chunks: another tokenizer cuts elsewhere."""
        if self.tokenizer is None:
            return "estimate"
        folder = find_folder(self.tokenizer)
        return digest_folder(folder) if folder else f"hub:{self.tokenizer}"

    @cached_property
    def dimensions(self) -> int:
        return int(self._requested(["dimensions"], self._documents_client).shape[1])

    @property
    def max_tokens(self) -> int:
        """Longest chunk in tokens, without the prefix for passages."""
        return (self._max_tokens or NO_LIMIT) - self.prefix_tokens

    @cached_property
    def prefix_tokens(self) -> int:
        return self.count_tokens(self.passage_prefix)

    def count_tokens(self, text: str) -> int:
        if self._counter is None:
            return estimate_tokens(text)
        return len(self._counter.encode(readable(text), add_special_tokens=False))

    def embed_documents(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        """Unit vectors `[len(texts), dimensions]` in float32: all of them, or an error."""
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        sent = [self.passage_prefix + text for text in texts]
        batches = token_batches([self.count_tokens(text) for text in sent], REQUEST_TOKENS, REQUEST_TEXTS)

        def embed(batch: Sequence[int]) -> None:
            found = self._requested([sent[position] for position in batch], self._documents_client)
            self._check_dimensions(found)
            vectors[batch] = found

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
            pending = [threads.submit(embed, batch) for batch in batches]
            try:
                for each in pending:
                    each.result()
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
        return vectors

    def embed_question(self, text: str) -> list[float]:
        """Unit vector `[dimensions]`."""
        return [float(x) for x in self.embed_questions([text])[0]]

    def embed_questions(self, texts: list[str]) -> "np.ndarray[Any, Any]":
        """Unit vectors `[len(texts), dimensions]`; all in one request."""
        return self._requested([self.query_prefix + text for text in texts], self._questions_client)

    def fluency(self, text: str) -> float:
        """How well the model knows the language of a text, from 0 to 1: 1 without a tokenizer that could tell."""
        return 1.0 if self._counter is None else fluency(readable(text), TokenCounts(self._counter))

    def release(self) -> None:
        """Nothing is held here."""

    def keep_export(self) -> str | None:
        """The model is elsewhere."""
        return None

    def _requested(self, texts: list[str], client: "OpenAI") -> "np.ndarray[Any, Any]":
        from openai import OpenAIError

        texts = [readable(text) for text in texts]
        try:
            answer = client.embeddings.create(model=self.name, input=texts, encoding_format="float")
        except OpenAIError as error:
            raise _translated(error, self.url, self.name) from error
        except ValueError as error:
            raise self._strange("something that is no JSON") from error
        return self._checked(answer, len(texts))

    def _checked(self, answer: Any, num_texts: int) -> "np.ndarray[Any, Any]":
        """The vectors of an answer, by their index and at unit length."""
        try:
            found = {int(each.index): each.embedding for each in answer.data}
            if len(answer.data) != num_texts or sorted(found) != list(range(num_texts)):
                raise self._strange(f"{len(answer.data)} embeddings for {num_texts} texts")
            vectors = np.array([found[index] for index in range(num_texts)], dtype=np.float32)
        except (TypeError, ValueError, AttributeError) as error:
            raise self._strange("something that is no list of embeddings of one length") from error
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise self._strange("something that is no list of embeddings of one length")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise self._strange("an embedding that is zero or holds what is no number")
        unit: np.ndarray[Any, Any] = vectors / lengths
        return unit

    def _check_dimensions(self, vectors: "np.ndarray[Any, Any]") -> None:
        if vectors.shape[1] != self.dimensions:
            raise self._strange(f"embeddings of {vectors.shape[1]} dimensions after some of {self.dimensions}")

    def _strange(self, what: str) -> TandemError:
        return TandemError(
            f"The embedding endpoint {self.url} answered with {what} (model {self.name}).",
            "An OpenAI-compatible /embeddings: one embedding for each text, of one length, with its index.",
            "Check that retrieval.embedding_url and retrieval.embedding_model name an embedding model.",
        )

    @cached_property
    def _documents_client(self) -> "OpenAI":
        return self._client(self.max_retries, self.timeout_s)

    @cached_property
    def _questions_client(self) -> "OpenAI":
        return self._client(0, min(QUESTION_S, self.timeout_s))

    def _client(self, max_retries: int, timeout_s: float) -> "OpenAI":
        from openai import OpenAI

        key = os.environ.get(KEY_VARIABLE) or "none"  # the client insists on one; a server without keys ignores it
        return OpenAI(base_url=self.url, api_key=key, max_retries=max_retries, timeout=timeout_s)

    @cached_property
    def _counter(self) -> Any:
        if self.tokenizer is None:
            return None
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(str(find_folder(self.tokenizer) or self.tokenizer))
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0].rstrip(".")
            raise TandemError(
                f"The tokenizer {self.tokenizer} cannot be loaded: {reason}.",
                "retrieval.embedding_tokenizer is a folder with a tokenizer, or a hub id.",
                "Correct it, or leave it out: tokens are then estimated.",
            ) from error


def _translated(error: "OpenAIError", url: str, model: str) -> TandemError:
    """What the client ended with, as an error that a user can read. Its text is the server's, never the key."""
    from openai import APIConnectionError, APIStatusError, AuthenticationError, PermissionDeniedError

    if isinstance(error, AuthenticationError | PermissionDeniedError):
        return TandemError(
            f"The embedding endpoint {url} refuses the key (status {error.status_code}).",
            f"The environment variable {KEY_VARIABLE} holds a key that may use {model}.",
            f"Set {KEY_VARIABLE}.",
        )
    status = error.status_code if isinstance(error, APIStatusError) else None
    if isinstance(error, APIConnectionError) or status in (408, 409, 429) or (status or 0) >= 500:
        return RetrievalUnavailable(
            f"The embedding endpoint {url} " + (f"answers with status {status}." if status else "does not answer."),
            "retrieval.embedding_url names a running OpenAI-compatible API; what can be tried again was.",
            "Start it or correct the address, and run this again: what is already indexed stays.",
        )
    return TandemError(
        f"The embedding endpoint {url} refuses the texts: {str(error)[:300]}.",
        f"A model that is served there under the name {model}, and texts that it can read.",
        "Check retrieval.embedding_model, and set retrieval.embedding_max_tokens to what that model reads.",
    )
