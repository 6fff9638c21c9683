"""What is not asked although its form fits: descriptions that define nothing, gaps that anybody fills or nobody can.

Each rule refuses. A question fewer costs little, and one that a reader throws away costs his time.
"""

import re

from evaluation.drafts.wording import hints_at
from evaluation.questions.words import words_of

MAX_ANSWER_WORDS = 8
MIN_SHARED = 0.6
SMALL = 12

_VERB_WORDS = """
    construct
    accept activate add adjust allow append apply assign attach backup block build bump cache calculate call cancel
    change check choose clean clear close collect combine compare compile compress compute configure connect control
    convert copy create deactivate decode define delete deploy describe detect determine disable discard display
    download drop dump enable encode encrypt enforce ensure escape evaluate exclude execute exit expand export expose
    extend extract fetch filter find fix force format generate get give handle hide identify ignore import include
    indicate inherit initialize insert inspect install invoke keep launch limit link list load lock log make manage map
    measure merge migrate minify modify monitor mount move open optimize output override overwrite parse pass perform
    persist pin prevent print process produce provide prune publish pull push query raise read rebuild receive record
    redirect reduce refresh register reject reload remove rename render replace report request require reset resize
    resolve restart restore restrict retrieve return reverse run save scan search select send serialize serve set show
    skip sort specify split start stop store strip suppress switch sync tell test toggle track transform translate
    trigger truncate turn uninstall unlock update upgrade upload use validate verify view wait warn watch wrap write"""
_MORE_VERBS = """
    answer celebrate encourage engage establish follow invest offer recognise recognize replay respond thank welcome
    analyse analyze archive assess audit debug discover discuss document evaluate examine experiment explore gather
    investigate learn maintain negotiate organise organize participate plan practice prepare present promote publish
    research review schedule share sign simplify solve submit summarise summarize support teach troubleshoot understand
    visit visualise visualize"""
_VERBS = frozenset((_VERB_WORDS + _MORE_VERBS).split())
_FINITE = re.compile(
    r"\b(?:is|are|was|were|am|will|would|should|must|can|cannot|could|may|might|shall|has|have|had|does|do|did|helps?"
    r"|means|lets|makes|makes sure|needs?|depends|applies|works|contains|happens|gets|becomes)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"\b(?:that|which|who|whom|whose|where|when|whenever|if|whether|how|what|why|as|than|until|while|because|before"
    r"|after|you|we|they|it|users?)\b",
    re.IGNORECASE,
)
_NO_DEFINITION = re.compile(
    r"(?:we|our|ours|us|you|your|i|my|he|she|they|their|it|its|do|don['\u2019]t|does|never|always|only|not|no|to|for|by"
    r"|with|from|if|when|after|before|during|in|on|at|as|why|there|everyone|everybody|anyone|people"
    r"|any|some|make sure|sometimes"
    r"|usually|often|typically|most|many|just|simply|even|due|given|like|unlike|since|once|until"
    r"|thanks|great|best|good|ask|try|take|go|think|let|remember|consider|talk|speak|join|avoid|learn|aim|strive|prefer)\b"
    r"|[A-Z][a-z]+ing\b(?! (?:of|for|system|tool|method|rule|mode|room|list|name|type)s?\b)"
    r"|the (?:\w+er|more|less|fewer)\b.*\bthe (?:\w+er|more|less|fewer)\b",
    re.IGNORECASE,
)
# "The wheel turns all stones", and what is said of a term in passing.
_STATEMENT = re.compile(
    r"The (?:(?!that|which|who)\S+ ){1,7}(?:all|each|both) [a-z]+ |"
    r"(?:The|An?|Each|Every) (?:(?!of|for|that|which|who|whose|to|in|on|at)[\w-]+ ){1,3}[a-z]+[^s\W]s "
    r"(?!(?:of|for|that|which|who|in|on|to|at|from|with|used|when|and|or|by|where|per|as|within|between|about)\b)"
    r"|(?:Enabled|Disabled|Required|Optional|Supported|Set|Available|Default|Same|Recommended)\b"
)
# What a page of other documents is about.
_OF_A_PAGE = re.compile(
    r"(?:more |further |detailed |basic )?(?:info|information|details|documentation|docs|notes|tips|links?"
    r"|closer looks?|an? (?:closer look|overview|introduction|guide|tutorial)|everything|all)\b(?! that\b)",
    re.IGNORECASE,
)
_NO_TERM = re.compile(
    r"(?:with|without|for|in|on|by|after|before|from|to|no|not|if|when|preferred|recommended|alternatives?|fallback"
    r"|always|never|use|call|run|make|keep|do|avoid|be)\b",
    re.IGNORECASE,
)
_TIME_OR_NUMBER = re.compile(
    r"\W*(?:[$\u20ac\u00a3]?\d|(?:one|two|three|four|five|six|seven|eight|nine|ten|first|second|third|last|next|week"
    r"|month|day|year|phase|step|stage|part|(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april"
    r"|may|june|july|august|september|october|november|december|spring|summer|autumn|winter|q[1-4])s?\b)",
    re.IGNORECASE,
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*\.?"
_OUTSIDE = re.compile(
    r"\b(?:we|we['\u2019]\w+|our|ours|us|i|my|now|right now|still|already|upcoming"
    r"|latest|yet|soon|current|such|former|latter|again|instead|above|below|respectively|both|rest|remaining|other"
    r"|others|another|else|said|mentioned|described|so far|there['\u2019]s|something|anything|everything)\b"
    r"|\bthat(?=$|[.,;:)])|\b(?:like|as|to|of|with|by|from|and|or|the|an?|icon|button)(?: ?[.,;:)]|$)"
    r"|[*\u2020\u2021\u00b9\u00b2\u00b3\u2022\u2192]|\(\W*\)|\s[.,;:](?:\s|$)|\u2014|!\s|\?",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"(?:\S+ ){0,5}(?:it|they|them|one|ones|he|she|him)\b|(?:\S+ )?(?:its|their|his|her)\b", re.IGNORECASE
)
# An instruction may speak to the reader where it names a command.
_READER = re.compile(r"\b(?:you|you['\u2019]\w+|your|yours)\b", re.IGNORECASE)
_MAYBE = re.compile(r"\b(?:might|may|could|prefer|are not|don['\u2019]t|want)\b", re.IGNORECASE)
_LISTED = re.compile(r"[:;\u2013\u2014]| - |\bnamely\b|\beither\b|\bi\.e\.|,.*,.* and |\(.*,")
_LEADS_NOWHERE = re.compile(
    r"(?:\b(?:for|of|like|as|with|including|about|by|from|and|or|such as)|\b(?!using|running)\w+ing)"
    r"(?: (?:an?|the))? $",
    re.IGNORECASE,
)
_AFTER_A_VERSION = (
    "and|are|as|before|but|can|does|for|from|has|have|into|is|may|must|only|should|than|the|was|when|with"
)
_ADVERB_LAST = re.compile(
    r"\b(?:still|now|currently|also|only|already|always|usually|often|typically|just|then|even|generally|normally|not"
    r"|never|yet|both|all|again|\w+ly)$",
    re.IGNORECASE,
)


def opens_with_verb(description: str) -> str | None:
    """`prints` where it begins "Prints ..." and `print` where it begins "Print ..."; None where it begins otherwise."""
    word = re.match(r"[A-Za-z]+(?=\s)", description)
    if not word:
        return None
    found = word[0].lower()
    bases = {found, found[:-1] if found.endswith("s") else found, found[:-2] if found.endswith("es") else found}
    bases.add(f"{found[:-3]}y" if found.endswith("ies") else found)
    if re.match(r"[A-Z][a-z]*[a-rt-z]s (?:an?|the|all|every|each|any|your|its|whether)\b", description):
        return found
    # "Test results of a run" and "Lists of boats" begin with nouns.
    is_noun = re.match(r"[A-Za-z]+ (?:of|for|is|are|was|were|will|that|which|has|have)\b", description)
    return found if bases & _VERBS and (not is_noun or re.match(r"\w+ (?:that|for)\b", description)) else None


def is_definition(description: str) -> bool:
    """Whether it is what a term is, or does, and no statement about something else: a noun phrase or a verb phrase.

    Both have finite verbs behind `that`, `which` and the like only."""
    bare = re.sub(r"`[^`]*`", "x", description.lstrip("\"'(*_ "))
    if _NO_DEFINITION.match(bare) or _STATEMENT.match(bare) or description.startswith("`"):
        return False
    if _OF_A_PAGE.match(bare) or re.fullmatch(r"(?:[\w'-]+, )+(?:and|or) [\w'-]+", bare):
        return False
    if description != description.strip() or re.search(r"\s[.,;:](?:\s|$)", description):  # something was taken out
        return False
    if (
        re.match(r"\w+: |\w+ly ", bare)
        or re.search(r" / |\bthere$", bare)
        or re.search(r"\b(?:we|our|us|I|my)\b|;|\u2026$", bare)
    ):
        return False
    finite, relative = _FINITE.search(bare), _RELATIVE.search(bare)
    return finite is None or (relative is not None and relative.start() < finite.start())


def is_term(label: str) -> bool:
    """Times and numbers only say when or in which order."""
    if label.startswith("`"):
        return True
    if "`" in label or _NO_TERM.match(label):
        return False
    if " " in label and label.split()[0].lower() in _VERBS:
        return False  # "Prioritize grid over flexbox"
    is_title_of_sentence = re.search(r"\b(?:are|is|be|you|your|we|our|us|I)\b", label, re.IGNORECASE)
    return not (_TIME_OR_NUMBER.match(label) or is_title_of_sentence)


def similar(one: str, other: str) -> bool:
    """Whether two texts share most of their words."""
    first, second = set(words_of(one)), set(words_of(other))
    return len(first & second) >= MIN_SHARED * max(1, len(first | second))


def is_sound_gap(before: str, value: str, after: str) -> bool:
    """Whether `before ____ after` asks for one whole thing that the rest does not show, in words that stand alone."""
    if not before.strip() or (before[-1:] not in (" ", "(", '"') and not re.search(r"\s['\u2018\u201c]$", before)):
        return False
    if not re.match(r"(?:[.,;!?)\"'\u2019\u201d]*)(?:\s|$)", after) or value.endswith(("'s", "\u2019s", "s'", "'")):
        return False
    if re.match(r"[\w -]{1,30}: |[A-Z][a-z]+ed (?:on|in|by|with|at|for|from)\b", before):
        return False
    # An example, which others would be too, and an item of a list in brackets.
    if re.search(
        r"(?:\be\.g\.,?|\bi\.e\.,?|\bfor (?:example|instance),?|\bsuch as|\blike|\bincluding) \W*$", before, re.I
    ):
        return False
    if before.count("(") > before.count(")"):
        return False
    # A remark in brackets, a subject of which nothing else is said, one of several alike, and a part of a name.
    if before.endswith("(") or re.fullmatch(r"(?:The|An?|Any|Each|Every) ", before) or re.match(r"If any\b", before):
        return False
    if re.search(r"` (?:or|and|nor) $", before) or re.match(r",? (?:or|and|nor) `", after):
        return False
    if any(each[:2] == value[1:3] for each in re.findall(r"`([^`]+)`", before + after) if value.startswith("`")):
        return False
    if re.match(r"An? \w+ (?:of|that|to|for|which|with)\b", before) or re.match(r" [\w'-]*[A-Z]\w*", after):
        return False
    rest = f"{before}{value}{after}"
    if _OUTSIDE.search(re.sub(r"`[^`]*`", "x", rest)) or _POINTS_BACK.match(rest) or len(value.split()) > 5:
        return False
    if _READER.search(rest) and (not value.startswith("`") or _MAYBE.search(rest)):
        return False
    if re.search(r"(?:\d|\bone|\btwo|\bthree)(?:,|,? (?:and|or|to|-))? ?\(?$", before) or re.match(
        r"\)?(?:,|,? (?:and|or|to|-))? ?\(?\d", after
    ):
        return False
    if re.search(rf"\b{_MONTH} $", before, re.I) or re.match(rf" (?:of )?{_MONTH}(?!\w)", after, re.I):
        return False
    return (
        _is_number_asked(before, value, after)
        if re.match(r"\W*\d|[a-z]+$", value)
        else _is_name_asked(before, value, after)
    )


def _is_number_asked(before: str, value: str, after: str) -> bool:
    if re.search(r"\b(?:HTTP|status|code|codes|Act|port|line|page) (?:code )?$", before, re.IGNORECASE) or (
        re.fullmatch(r"(?:19|20)\d\d", value) and re.search(r"[A-Z]\w* $", before)
    ):
        return False
    # "Microsoft 365 environment": a part of a name.
    if re.search(r"\w .*\b[A-Z][\w.]* $", before) and re.match(rf" (?!(?:{_AFTER_A_VERSION})\b)[a-z]{{3,}}", after):
        return False
    if re.search(r"\b(?:Licen[cs]e|between) $", before) or re.match(r" (?:\w+ )?examples?\b", after):
        return False
    is_small = not re.fullmatch(r"\d+", value) or int(value) <= SMALL
    return not (is_small and re.fullmatch(r"\d+|[A-Za-z]+", value) and _LISTED.search(after))


def _is_name_asked(before: str, value: str, after: str) -> bool:
    is_last = not re.search(r"\w", after)
    if not value.startswith("`") and (
        re.search(r"(?:,|\band|\bor|&) $", before) or re.match(r",? (?:and|or|&) |, [A-Z]", after)
    ):
        return False  # one of several alike
    if re.search(r"[A-Z]ing$|-[a-z]+$", value):
        return False  # "CCing", "AI-based"
    return not (is_last and _LEADS_NOWHERE.search(before)) and not hints_at(f"{before} {after}", value)


def shows(question: str, value: str) -> bool:
    """Whether the question holds the answer, whatever marks are around it, or its number in a word: 5 in "5xx"."""
    bare = re.sub(r"^\W+|\W+$", "", value)
    if bare and re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", question, re.IGNORECASE) and not bare.isdigit():
        return True
    return re.fullmatch(r"\d[\d.,]*", value) is not None and (
        re.search(rf"(?<![\d.,]){re.escape(value)}(?![\d.,]\d|\d)", question) is not None
    )


def is_amount(sentence: str, value: str, start: int) -> bool:
    """Whether a number behind a question like "How many?" is an amount: no year, no date, none of a unit like `yet`."""
    number, _, unit = value.partition(" ")
    before = sentence[:start]
    is_date = re.fullmatch(r"(?:19|20)\d\d\W*", number) and (
        not unit.endswith("s")
        or re.search(r"\b(?:for|in|by|of|since|until|from|during|before|after|to) $", before, re.I)
    )
    is_day = re.search(rf"\b(?:{_MONTH}|on|by|since|until) (?:the )?$", before, re.I)
    is_unit = (
        not unit or unit.endswith("s") or unit in ("minute", "hour", "day", "week", "month", "year", "m", "km", "kg")
    )
    return not is_date and not is_day and is_unit


def is_subject(subject: str) -> bool:
    """What is left of a sentence before its verb: an adverb at its end belongs to the verb."""
    return not (_ADVERB_LAST.search(subject) or re.match(r"the default(?! (?:of|for)\b)", subject, re.IGNORECASE))
