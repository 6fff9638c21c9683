"""Documents and questions become the same terms, whatever they are written with."""

import random
import re
import unicodedata

import pytest
from milvus_lite.analyzer.standard import StandardAnalyzer

from retrieval.analysis.analyzer import MAX_BYTES, Analyzer, read_analyzer
from retrieval.analysis.config import BY_SCRIPT, LANGUAGES, STEMMED
from retrieval.analysis.function_words import FUNCTION_WORDS
from retrieval.analysis.languages import STEMMERS, detect_language
from retrieval.analysis.normalization import folded, readable, without_accents
from tests.retrieval.analysis.judged import LANGUAGES_JUDGED, TEXTS

ANALYZER = Analyzer()


def terms(text: str, *languages: str) -> list[str]:
    return ANALYZER.document_terms(text, languages or ANALYZER.languages_of(text)).split()


def asked(question: str, *languages: str) -> list[str]:
    return ANALYZER.question_terms(question, languages).split()


@pytest.mark.parametrize("language", LANGUAGES_JUDGED)
def test_each_word_of_a_document_is_a_term_of_it_when_it_is_asked(language: str) -> None:
    """In any order, in capitals, decomposed, and beside documents of every other language."""
    for text in TEXTS[language].values():
        found, words = set(terms(text)), text.split()
        random.Random(3).shuffle(words)
        for question in (
            text,
            " ".join(words),
            unicodedata.normalize("NFD", text),
            unicodedata.normalize("NFKD", text),
        ):
            assert len(found & set(asked(question, *LANGUAGES))) >= 0.4 * len(found), question
            for word in question.split():
                assert found & set(asked(word, *LANGUAGES)), word
        if language != "tr":
            assert set(asked(text.upper(), *LANGUAGES)) & found == set(asked(text, *LANGUAGES)) & found


@pytest.mark.parametrize("language", LANGUAGES_JUDGED)
def test_the_language_of_a_text_is_found(language: str) -> None:
    for text in TEXTS[language].values():
        assert language in ANALYZER.languages_of(text)
    assert ANALYZER.languages_of(" ".join(TEXTS[language].values())) == {language}


@pytest.mark.parametrize("language", LANGUAGES_JUDGED)
def test_no_term_is_taken_apart_by_the_store(language: str) -> None:
    signs = " ".join(map(chr, range(33, 0x3000)))
    for text in (
        *TEXTS[language].values(),
        signs,
        signs.replace(" ", "a"),
        "C++ C# v2.3.1 a_b 10.0.0.1 x@y.zz 𠮷野家 🙂",
    ):
        written = ANALYZER.document_terms(text, {language})
        assert StandardAnalyzer().tokenize(written) == written.split()
        assert all(term.isalnum() for term in written.split())


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("ERR-1042", "err-1042 err1042 ERR_1042 Err1042"),
        ("v2.3.1", "V2.3.1"),
        ("P-0417", "p0417 P\u20110417 P_0417"),
        ("C++", "c++"),
        ("C#", "c#"),
        ("SAP_ORDER_ID", "sap_order_id SAP-ORDER-ID"),
        ("4711-XZ/9", "4711-xz/9"),
        ("jane.doe@example.com", "Jane.Doe@Example.com"),
    ],
)
@pytest.mark.parametrize("language", sorted(STEMMED))
def test_identifiers_are_one_term_in_every_language(name: str, others: str, language: str) -> None:
    first = terms(name, language)[0]
    for other in others.split():
        assert first in asked(f"what about {other}?", language), other
    for wrong in ("ERR-1043", "v2.31", "v23.1", "P-04170", "P-0418", "C", "D#", "SAP_ORDER_NO", "4711-XZ/8", "j@x.de"):
        assert first not in terms(wrong, language), wrong


def test_one_word_is_one_term_however_its_characters_are_written() -> None:
    pairs = [
        ("Cafe\u0301", "Café"), ("Zürich", "zurich"), ("ﬁnance", "finance"),
        ("Ｔａｎｄｅｍ", "tandem"), ("STRASSE", "Straße"), ("soft\u00adware", "software"),
        ("ｶﾞｲﾄﾞ", "ガイド"), ("مُحَمَّد", "محمد"), ("شـكرا", "شكرا"), ("שָׁלוֹם", "שלום"),
        ("ещё", "еще"), ("İstanbul", "istanbul"), ("Ødegård", "Odegard"),
        ("naïve", "naive"), ("m²", "m2"), ("\u200fשלום", "שלום"),
        ("می\u200cخواهم", "میخواهم"), ("葛\U000e0100飾", "葛飾"),
    ]  # fmt: skip
    for one, other in pairs:
        assert terms(one, "en") == terms(other, "en"), (one, other)
    keeps = Analyzer(accents="keep")
    assert keeps.document_terms("año", {"es"}) != keeps.document_terms("ano", {"es"})
    assert keeps.document_terms("an\u0303o", {"es"}) == keeps.document_terms("año", {"es"})
    assert without_accents(folded("ГОЙ")) == "гой" and folded("がぎ") == "がぎ"


def test_turkish_has_two_letters_i() -> None:
    assert terms("ISITMA", "tr") == terms("ısıtma", "tr")
    assert terms("İZİN", "tr") == terms("izin", "tr")


def test_compounds_are_found_by_their_words() -> None:
    for word, part in (
        ("Urlaubsbescheinigung", "Bescheinigungen"),
        ("Urlaubsbescheinigung", "Urlaub"),
        ("Kündigungsfristen", "Frist"),
    ):
        assert set(terms(word, "de")) & set(asked(part, "de")), (word, part)
    assert terms("information", "en") == ["inform"]


def test_function_words_are_left_out_of_questions_unless_there_is_nothing_else() -> None:
    assert asked("What is the notice period of our contract?", "en") == ["notic", "period", "contract"]
    assert asked("Was ist die Frist?", "de", "en") == ["frist"], "the question is German, where `die` says nothing"
    assert set(asked("die another day", "de", "en")) >= {"die", "day"}
    assert asked("The Who", "en") == ["the", "who"]
    assert terms("The Who", "en") == ["the", "who"]


def test_a_part_in_another_language_is_taken_for_what_it_is() -> None:
    english, german = (" ".join(TEXTS[language].values()) for language in ("en", "de"))
    assert "termin" in terms(english, "de") and "kundigungsfrist" in terms(german, "en")
    assert "running" in terms("Table of running costs", "de"), "it is too short to tell"


def test_the_languages_of_a_project_are_the_only_ones_that_are_found() -> None:
    german = Analyzer(("de", "zh"))
    assert german.languages_of(TEXTS["en"]["laptop-loss"]) == {"de"}
    assert german.languages_of(TEXTS["ru"]["otpusk"]) == {"ru"}, "its script has no other"


def test_what_a_collection_was_built_with_is_read_back() -> None:
    for analyzer in (Analyzer(), Analyzer(("de", "fr")), Analyzer(accents="keep")):
        assert read_analyzer(analyzer.identity) == analyzer
    assert read_analyzer("") is None and read_analyzer("99 fold all") is None


def test_a_text_that_no_tokenizer_takes_becomes_readable() -> None:
    assert readable("a\ud83db") == "a\ufffdb" and readable("\udce9") == "\ufffd" and readable("\0") == "\ufffd"
    assert readable("\ud83d\ude00") == "\U0001f600" and readable("é 𠮷") == "é 𠮷"
    assert asked("caf\udce9 Zürich", "de") == ["caf", "zurich"]


def test_terms_that_no_field_holds_are_cut_to_each_once_or_refused() -> None:
    assert terms("wort " * 20_000, "de") == ["wort"]
    distinct = " ".join(f"w{number}" for number in range(20_000))
    with pytest.raises(OverflowError, match="the words of one chunk take"):
        ANALYZER.document_terms(distinct, {"en"})
    assert len(ANALYZER.document_terms("字" * 9000, {"zh"}).encode()) < MAX_BYTES


def test_what_is_known_of_languages_fits_together() -> None:
    assert set(STEMMERS) | {"he"} == STEMMED == set(FUNCTION_WORDS)
    assert all(languages for languages in BY_SCRIPT.values())
    for language, words in FUNCTION_WORDS.items():
        assert all(word == folded(word) and not re.search(r"\s", word) for word in words), language
    assert detect_language("") is None and detect_language("4711 0815 --- ???") is None
