"""What a tokenizer knows of a language: one that was trained on some texts, asked about texts of other scripts."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.trainers import BpeTrainer, WordPieceTrainer
from transformers import PreTrainedTokenizerFast

from retrieval.embedding.fluency import MIN_HAN, TokenCounts, fluency
from tests.retrieval.analysis.judged import TEXTS

KNOWN = ("en", "ru")


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))  # type: ignore[call-arg]
    tokenizer.pre_tokenizer = Whitespace()
    texts = [text for language in KNOWN for text in TEXTS[language].values()]
    tokenizer.train_from_iterator(texts, WordPieceTrainer(vocab_size=1000, special_tokens=["[UNK]"]))
    return tokenizer


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """Of bytes: nothing is unknown to it."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    texts = [text for language in KNOWN for text in TEXTS[language].values()]
    alphabet = ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, BpeTrainer(vocab_size=1500, initial_alphabet=alphabet))
    return tokenizer


@pytest.mark.parametrize("kind", ["words", "pieces"])
@pytest.mark.parametrize("language", sorted(TEXTS))
def test_the_languages_of_its_texts_are_known_and_other_scripts_are_not(
    kind: str, language: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(kind)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]" if kind == "words" else None)
    for tokens in (TokenCounts(tokenizer), TokenCounts(wrapped)):
        known = [fluency(text, tokens) for text in TEXTS[language].values()]
        if language in KNOWN:
            assert min(known) >= 0.8
        elif language in ("ar", "he", "hi", "zh", "ja", "ko", "th"):
            assert max(known) == 0


def test_names_numbers_and_signs_say_nothing(words: Tokenizer) -> None:
    for text in ("", "4711-0815", "???", "🙂 12.5 %"):
        assert fluency(text, TokenCounts(words)) == 1.0


def test_han_is_known_to_a_vocabulary_that_has_most_of_it() -> None:
    for number, known in ((MIN_HAN - 1, 0.0), (MIN_HAN, 1.0)):
        vocabulary = {"[UNK]": 0} | {chr(0x4E00 + n): n + 1 for n in range(number)}
        tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # type: ignore[call-arg]
        assert fluency("年假有几天", TokenCounts(tokenizer)) == known
