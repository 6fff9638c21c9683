"""The words of drafted questions: which texts can be asked about, and how they are named in a question."""

import re

from evaluation.questions.words import words_of

PROPERTIES = frozenset(
    """address age alias amount author birthday budget capacity capital category city code color colour cost country
    currency date deadline default default value default port depth description distance duration email environment
    variable env var expiry extension fax field floor format frequency height host hostname id interval isbn language
    latency length level license licence limit location maintainer manager maximum mass max memory method mime type
    minimum min model name number owner password path phone population port price priority protocol purpose radius rank
    rate region role runtime salary scope seats severity shortcut size speed start date state status support symbol
    telephone temperature term timeout title type unit url user value version volume weight width year""".split()
)
NO_LABELS = re.compile(
    r"(?:a|q|answer|question|note|notes|nb|n\.b\.|warning|warnings|caution|danger|todo|to do|to-do|fixme|tip|tips|hint"
    r"|info|important|attention|remember|reminder|disclaimer|example|examples|e\.g\.?|i\.e\.?|for example|for instance"
    r"|step|steps|update|updated|edit|edited|before|after|now|yes|no|ok|see|see also|more|read more|also|ps|p\.s\.|tl;dr"
    r"|tldr|summary|pro|pros|con|cons|pro tip|protip|good|bad|do|don't|dos|don'ts|first|second|third|next|finally|then"
    r"|result|results|output|input|new|added|changed|fixed|fix|removed|deprecated|security|feature|features|bug"
    r"|breaking|breaking change|breaking changes|chore|docs|optional|optionally|recommended|required|draft|tags|tag"
    r"|layout|slug|however|otherwise|usage|solution|problem|issue|issues|key takeaway|takeaway|bonus|caveat|caveats|link"
    r"|links|source|sources|reference|references|agenda|attendees|recording|video|image|figure|table|credit|credits"
    r"|description|default|defaults|type|required|since|here|there|this|that|it|not|and|or|but|so|if|when|why|what|how"
    r"|who|where)(?:\s+\d+)?[.!]?",
    re.IGNORECASE,
)
_POINTING = re.compile(
    r"\b(?:this|these|those|above|below|following|follows|here|previous(?:ly)?|earlier|later|next|former|latter|such"
    r"|aforementioned|same|example|e\.g|todo|tbd|fixme|click|screenshot|deprecated|last week|today|tomorrow"
    r"|currently|recently|see|the other|more information|for more|refer to|bullets?|paragraphs?|sections?|pages?|chapters?|diagram|figure|image"
    r"|unfortunately|tutorial|article|blog|post|guide|list|table|(?:the |our )(?:last|first|next)|refer to|please|check out|documentation|read)\b",
    re.IGNORECASE,
)
_BEGINS_POINTING = re.compile(
    r"(?:it|its|it's|they|them|their|he|she|his|her|that|that's|there|and|but|or|so|then|also|however|otherwise"
    r"|instead|because|which|who|where|while|thus|therefore|hence|first|second|third|finally|additionally|moreover"
    r"|furthermore|if so|yes|no|note|in addition|for instance|both|either|another|other|others|alternatively|again"
    r"|will|using|similarly|likewise|as a result|in particular|in fact|still|yet|plus|all of|some of|each of|one of)\b",
    re.IGNORECASE,
)
_ENGLISH = frozenset("the of to and a an in is are for you we your our be with that can by on as at or from".split())
_VERSION = re.compile(r"[\[(v]*\d+\.\d+|unreleased\b|\d{4}-\d\d", re.IGNORECASE)


def is_label(text: str, max_words: int = 6) -> bool:
    """Whether a text can name what is asked about: short, with a letter, and no word that only marks what follows."""
    bare = text.strip("`\"' ")
    if len(bare) < 2 or not re.search(r"[^\W\d_]", bare) or len(text.split()) > max_words or len(text) > 60:
        return False
    if (
        NO_LABELS.fullmatch(bare.rstrip(":"))
        or _VERSION.match(bare)
        or re.search(r"[?;{}<>|\[]|https?:|\.\.\.|^(?:How|Why|What|When|Where|Who|If) ", text)
    ):
        return False
    return text.count("`") % 2 == 0 and text.count('"') % 2 == 0


def stands_alone(sentence: str) -> bool:
    """Whether a sentence is understood without what stands around it, as far as its words say."""
    if re.match(r"[A-Z][a-z]+ing\b", sentence) or re.search(r"\b(?:I|I'm|I’m|[Mm]y|me)\b|\[|\w`\w", sentence):
        return False
    return not (_POINTING.search(sentence) or _BEGINS_POINTING.match(sentence.lstrip("\"'(*_ ")))


def is_english(sentence: str) -> bool:
    words = re.findall(r"[^\W\d_]+", sentence.lower())
    return sum(word in _ENGLISH for word in words) >= max(1, len(words) // 10)


def is_property(key: str) -> bool:
    """Whether `the KEY of` something is English: its last word is the name of a property."""
    words = key.lower().split()
    return 0 < len(words) <= 3 and key.replace(" ", "").isalpha() and words[-1].rstrip("s") in PROPERTIES | {"addres"}


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
    return " ".join(word.lower() if word[1:].islower() or len(word) == 1 else word for word in text.split())


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
    asked = {word[:5] for word in words_of(description)}
    wanted = [word for part in words_of(re.sub(r"\(.*?\)", "", term)) for word in re.split(r"[-_./]", part)]
    long = [word[:5] for word in wanted if len(word) > 3] or wanted
    return 2 * sum(word in asked for word in long) >= len(long)
