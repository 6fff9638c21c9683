"""The words of drafted questions: which texts can be asked about, and how they are named in a question."""

import re

from evaluation.questions.words import words_of

_PROPERTY_WORDS = """
    address age alias amount author birthday budget capacity capital category city code color colour cost country
    currency date deadline default default value default port depth distance duration email environment
    variable env var expiry extension fax field floor format frequency height host hostname id interval isbn language
    latency length level license licence limit location maintainer manager maximum mass max memory method mime type
    minimum min model name number owner password path phone population port price priority protocol purpose radius rank
    rate region role runtime salary scope seats severity shortcut size speed start date state status symbol
    telephone temperature term timeout title type unit url user value version volume weight width year"""
PROPERTIES = frozenset(_PROPERTY_WORDS.split())
NO_LABELS = re.compile(
    r"(?:a|q|answer|question|note|notes|nb|n\.b\.|warning|warnings|caution|danger|todo|to do|to-do|fixme|tip|tips|hint"
    r"|info|important|attention"
    r"|remember|reminder|disclaimer|example|examples|e\.g\.?|i\.e\.?|for example|for instance"
    r"|useful|step|steps|update|updated|edit"
    r"|edited|before|after|now|yes|no|ok|see|see also|more|read more|also|ps|p\.s\.|tl;dr"
    r"|tldr|summary|pro|pros|con|cons|pro tip|protip|good|bad|do|don't|dos|don'ts|first|second|third|next|finally|then"
    r"|result|results|output|input|new|added|changed|fixed|fix|removed|deprecated|security|feature|features|bug"
    r"|breaking|breaking change|breaking changes|chore|docs|optional|optionally|recommended|required|draft|tags|tag"
    r"|layout|slug|however|otherwise|usage|solution|problem|issue|issues|key takeaway|takeaway|bonus|caveat|caveats"
    r"|link|links|source|sources|reference|references|agenda|attendees|recording|video|image|figure|table|credit"
    r"|credits|description|default|defaults|type|required|since|here|there|this|that|it|not|and|or|but|so|if|when|why|what"
    r"|how|who|where|for|with|without|others?|same)(?:\s+\d+)?[.!]?",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"\b(?:this|these|those|the above|following|follows|here|previous(?:ly)?|earlier|later|next|former|latter|such"
    r"|aforementioned|same|example|todo|tbd|fixme|click|screenshot|deprecated|last week|today|tomorrow"
    r"|currently|recently|see|the other|unfortunately|please|more information|refer to)\b"
    r"|\b(?:above|below)(?=\W*$|[,.;:)])",
    re.IGNORECASE,
)
# In a sentence, words for parts of the document itself.
_POINTING_AT_TEXT = re.compile(
    r"\b(?:check out|documentation|read (?:the|more|about|up)|for more|(?:the |our )(?:last|first|next))\b"
    r"|\b(?:the|an?|our|your|each|in) (?:[\w-]+ )?(?:bullets?|paragraphs?|sections?|pages?|chapters?|diagram|figure"
    r"|image|tutorial|article|blog|post|guide|list|table)\b",
    re.IGNORECASE,
)
_BEGINS_POINTING = re.compile(
    r"(?:it|its|it's|they|them|their|he|she|his|her|that|that's"
    r"|there(?! (?:are|were)\b)|and|but|or|so|then|also|however|otherwise"
    r"|instead|because|which|who|where|while|thus|therefore|hence|first|second|third|finally|additionally|moreover"
    r"|furthermore|if so|yes|no|note|in addition|for instance|both|either|another|other|others|alternatively|again"
    r"|will|using|similarly|likewise|as a result|in particular|in fact|still|yet|plus|all of|some of|each of|one of)\b",
    re.IGNORECASE,
)
_ENGLISH_WORDS = "the of to and a an in is are for you we your our be with that can by on as at or from"
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_OTHER_WORDS = """
    der die das und ist nicht ein eine mit für von auf den dem im zu sich le les des et est une pour dans sur pas du qui
    el los las del que una para con por es um uma não em do da dos os il di che per non della het een van niet op zijn
    bir ve için bu ile w nie jest się na och att som är det"""
_OTHER = frozenset(_OTHER_WORDS.split())
MAX_OTHER_LETTERS = 0.02
_VERSION = re.compile(r"[\[(v]*\d+\.\d+|unreleased\b|\d{4}-\d\d", re.IGNORECASE)


def is_label(text: str, max_words: int = 6) -> bool:
    """Whether a text can name what is asked about: short, with a letter, and no word that only marks what follows."""
    bare = text.strip("`\"' ")
    if re.fullmatch(r"`[^`]{2,60}`", text):
        return re.search(r"[^\W\d_]", bare) is not None and not re.search(r"\s{2}|\.\.\.", text)
    if len(bare) < 2 or not re.search(r"[^\W\d_]", bare) or len(text.split()) > max_words or len(text) > 60:
        return False
    if (
        NO_LABELS.fullmatch(bare.rstrip(":"))
        or _VERSION.match(bare)
        or re.match(r"(?:here|this|that|these|those|there)\b", bare, re.IGNORECASE)
        or re.search(r"[?;{}<>|\[]|https?:|\.\.\.|` `|^(?:How|Why|What|When|Where|Who|If) ", text)
    ):
        return False
    return text.count("`") % 2 == 0 and text.count('"') % 2 == 0


def stands_alone(description: str) -> bool:
    """Whether a description is understood without what stands around it, as far as its words say."""
    if re.search(r"^[AQ]:|\b(?:I|I'm|I’m|[Mm]y|me)\b|\[|\w`\w", description):
        return False
    return not (_POINTING.search(description) or _BEGINS_POINTING.match(description.lstrip("\"'(*_ ")))


def is_whole_sentence(sentence: str) -> bool:
    """Whether it is an English sentence that stands alone: it ends, has a subject and speaks of no part of the text."""
    if re.match(r"[A-Z][a-z]+ing\b", sentence) or not sentence.endswith("."):
        return False
    words = re.sub(r"`[^`]*`", "`x`", sentence)
    return stands_alone(words) and is_english(words) and not _POINTING_AT_TEXT.search(words)


def is_english(sentence: str) -> bool:
    words = re.findall(r"[^\W\d_]+", sentence.lower())
    return sum(word in _ENGLISH for word in words) >= max(1, len(words) // 10)


def is_document_in_english(text: str) -> bool:
    """By the commonest words of the text, and by its letters. What has neither may be English."""
    letters = re.findall(r"[^\W\d_]", text)
    words = re.findall(r"[^\W\d_]+", text.lower())
    num_english, num_other = (sum(word in known for word in words) for known in (_ENGLISH, _OTHER - _ENGLISH))
    others = sum(not letter.isascii() for letter in letters)
    return num_english >= num_other and others <= MAX_OTHER_LETTERS * len(letters)


def is_property(key: str) -> bool:
    """Whether `the KEY of` something is English: its last word is the name of a property."""
    words = key.lower().split()
    return (
        0 < len(words) <= 3
        and words[0] not in ("what", "how", "which", "who")
        and key.replace(" ", "").isalpha()
        and words[-1].rstrip("s") in PROPERTIES | {"addres"}
    )


def be(key: str) -> str:
    last = key.lower().split()[-1]
    return "are" if last.endswith("s") and not last.endswith(("ss", "us", "is", "ies ", "alias")) else "is"


def quote(text: str) -> str:
    """In double quotes, but for what is code already."""
    return text if re.fullmatch(r"`[^`]+`", text) else '"' + text.replace('"', "'") + '"'


def quote_sentence(text: str) -> str:
    """In double quotes, whatever it holds."""
    return '"' + text.replace('"', "'") + '"'


def lower(text: str) -> str:
    """ "Opening hours" in small letters; "ISBN" and "HTTP status" stay."""
    return " ".join(word.lower() if word[1:].islower() or word == "A" else word for word in text.split())


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph, in its order."""
    parts = re.split(
        r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)(?<!Inc\.)(?<!\b[A-Z]\.)\s+(?=[A-Z`\"'*(\d])", text
    )
    return [part.strip() for part in parts if part.strip()]


def says(question: str, answer: str) -> bool:
    """Whether all words of the answer are in the question, which then gives it away."""
    wanted = words_of(answer)
    return bool(wanted) and set(wanted) <= set(words_of(question))


def hints_at(description: str, term: str) -> bool:
    """Whether half of a term's longer words, or of their beginnings, are in its description."""
    said = words_of(description)
    asked = {part[:5] for word in said for part in (word, *re.split(r"[-_./]", word))}
    wanted = [word for part in words_of(re.sub(r"\(.*?\)", "", term)) for word in re.split(r"[-_./]", part)]
    long = [word[:5] for word in wanted if len(word) > 3] or wanted
    return 2 * sum(word in asked for word in long) >= len(long)
