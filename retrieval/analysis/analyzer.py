"""Documents and questions -> the terms that BM25 counts, separated by spaces.

analyzer = Analyzer()
language = analyzer.languages_of("Wie viele Tage Urlaub stehen den Angestellten zu?")        # {"de"}
analyzer.document_terms("Urlaub\\nDie Tage werden bewilligt.", language)         # "urlaub die tag werd bewilligt"
analyzer.question_terms("Wie viele Urlaubstage?", language)

A document's words are reduced to their stems in its own language. A question may be in any language of the collection,
so it has the stems of all of them. What the store's own analyzer would take apart or drop is written with letters.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from retrieval.analysis.compounds import word_parts
from retrieval.analysis.config import BY_SCRIPT, UNSPACED, Accents
from retrieval.analysis.function_words import FUNCTION_WORDS
from retrieval.analysis.languages import detect_language, detected_scripts, script_of, stem_of
from retrieval.analysis.normalization import folded, without_accents
from retrieval.analysis.words import Token, tokens_of

VERSION = 1
"""Another version means other terms: a collection is built anew with it."""
MAX_BYTES = 65_535
"""What Milvus keeps in one field."""
MIN_ASKED = 2
"""Function words by which a question's language is known, at least: else a German `die` could be an English one."""
_FIRST_YI, _NUM_YI = 0xA000, 1165
_NO_LETTER = re.compile(r"[^\w\s]|_")


@dataclass(frozen=True)
class Analyzer:
    """How the texts of one collection become terms.

    Args:
        languages: those that texts may be in; empty for all that are known.
        accents: whether `Zürich` and `Zurich` are the same term.
    """

    languages: tuple[str, ...] = ()
    accents: Accents = "fold"

    @property
    def identity(self) -> str:
        """What is kept with a collection; `read_analyzer` makes an equal analyzer of it."""
        return f"{VERSION} {self.accents} {','.join(self.languages) or 'all'}"

    def languages_of(self, text: str) -> frozenset[str]:
        """The languages of a document, at most one of each script."""
        text = folded(text)
        return frozenset(UNSPACED.get(script) or self._language(text, script) for script in detected_scripts(text))

    def document_terms(self, text: str, languages: Collection[str]) -> str:
        """The terms of a part of a document that is in `languages`; a part in another one is taken for what it is.

        Raises:
            OverflowError: they are more than Milvus keeps in a field, each counted once.
        """
        text = folded(text)
        languages = self._languages_of_part(text, languages)
        terms = [term for token in tokens_of(text) for term in self._terms(token, languages)]
        if len(written := _written(terms)) > MAX_BYTES // 4 and len(written.encode()) > MAX_BYTES:
            written = _written(list(dict.fromkeys(terms)))
            if (length := len(written.encode())) > MAX_BYTES:
                raise OverflowError(f"the words of one chunk take {length} bytes")
        return written

    def question_terms(self, question: str, languages: Collection[str]) -> str:
        """The terms of a question to a collection that holds `languages`, each once; empty where it has none.

        Function words are left out unless nothing else is asked for.
        """
        text = folded(question)
        tokens = list(tokens_of(text))
        asked_in = detect_language(text, self._known(languages), MIN_ASKED)
        telling = [token for token in tokens if not _is_function_word(token, asked_in, languages)]
        terms = (term for token in telling or tokens for term in self._terms(token, languages))
        return _written(list(dict.fromkeys(terms)))

    def _terms(self, token: Token, languages: Collection[str]) -> Iterator[str]:
        """One term of each language that the token may be in."""
        if token.kind != "word" or (script := script_of(token.text)) is None:
            yield self._spelled(token.text)
            return
        stems = {}
        for language in _of_script(script, languages):
            for part in word_parts(token.text, language):
                stems[self._spelled(stem_of(part, language))] = True
        yield from stems

    def _spelled(self, term: str) -> str:
        return without_accents(term) if self.accents == "fold" else term

    def _language(self, text: str, script: str) -> str:
        known = [language for language in self.languages if language in BY_SCRIPT[script]] or BY_SCRIPT[script]
        return detect_language(text, known) or known[0]

    def _languages_of_part(self, text: str, languages: Collection[str]) -> Collection[str]:
        """Those of the document, but for a part whose function words are clearly of another language."""
        found = detect_language(text, self._known(BY_SCRIPT["Latin"]), instead_of=languages)
        if found is None or found in languages:
            return languages
        return {found, *(language for language in languages if language not in BY_SCRIPT["Latin"])}

    def _known(self, languages: Collection[str]) -> frozenset[str]:
        return frozenset(languages) & frozenset(self.languages or languages)


def read_analyzer(identity: str) -> Analyzer | None:
    """The analyzer that a collection was built with; None where Milvus' `standard` was, or where it is another
    version's."""
    version, _, rest = identity.partition(" ")
    if version != str(VERSION):
        return None
    accents, _, languages = rest.partition(" ")
    return Analyzer(() if languages == "all" else tuple(languages.split(",")), "keep" if accents == "keep" else "fold")


def _of_script(script: str, languages: Collection[str]) -> tuple[str, ...]:
    known = BY_SCRIPT[script]
    return tuple(language for language in known if language in languages) or known[:1]


def _is_function_word(token: Token, asked_in: str | None, languages: Collection[str]) -> bool:
    if token.kind != "word" or (script := script_of(token.text)) is None:
        return False
    possible = _of_script(script, languages)
    return all(token.text in FUNCTION_WORDS[each] for each in ((asked_in,) if asked_in in possible else possible))


def _written(terms: list[str]) -> str:
    """Terms with spaces between them, each of letters and digits alone, which no store's analyzer takes apart.

    Each other character becomes a letter of the Yi syllabary by its number. Nobody reads these.
    """
    return _NO_LETTER.sub(lambda match: chr(_FIRST_YI + ord(match[0]) % _NUM_YI), " ".join(terms).lower())
