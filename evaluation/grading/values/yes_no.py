"""Answers to questions that are answered by yes or no."""

import re

from evaluation.grading.values import cues
from evaluation.grading.values.cues import NOT, words
from evaluation.grading.values.meaning import overlap
from evaluation.grading.values.profile import NO, YES, Profile
from evaluation.grading.values.segments import Segment, Token, segments_of, tokens_of

SURE = words("certain")
SURE_NOT = re.compile(
    r"^(?:unfortunately |sadly |sorry |i'm afraid |definitely |absolutely |certainly |of course |actually |probably )*"
    r"(?:not|nope|never|negative|no|leider nicht|nicht)\b|^(?:i'm afraid|i am afraid) not\b"
)
SHORT = re.compile(
    r"^(?:it|they|he|she|you|we|that|this|there|one)"
    r"\s(?:does|do|is|are|can|may|has|have|will|was|were|must|did|should)(?P<no> not|n't)?\b"
    r"|^(?:it|they|he|she|you|we|that|this|there|one) (?P<no2>\w+n't|cannot|never)\b"
)
MODAL = re.compile(
    r"(?:may|can|could|should|is it (?:ok|okay|allowed|permitted|possible|safe)|are \w+ allowed|is \w+ allowed"
    r"|darf|durfen|kann|konnen|peut on|puis je|est il|puedo|se puede|posso|si puo|pode|posso)\b"
)
FORBIDDEN = re.compile(
    r"\b(?:(?:is|are|be) )?(?:not|never|n't|isn't|aren't)(?: \w+)? (?:permitted|allowed|possible|safe|recommended)\b"
    r"|\b(?:prohibited|forbidden|banned|not be|must not|mustn't|may not|cannot|can't|should not|shouldn't)\b"
    r"|^do not \w+|^don't \w+"
    r"|^no (?:\w+ ){1,3}(?:is|are|may|can)\b|^never \w+|\b(?:verboten|untersagt|nicht (?:erlaubt|gestattet|moglich))\b"
    r"|\b(?:interdit|defendu|prohibido|vietato|proibido)\w*\b"
)
PERMITTED = re.compile(
    r"\b(?:permitted|allowed|may|can|possible|safe|erlaubt|gestattet|moglich|autorise|permitido|permesso)\b"
)
NO_WAY = re.compile(
    r"(?:pas du tout|absolument pas|en aucun cas|aucunement|nullement|jamais|keineswegs"
    r"|auf keinen fall|keinesfalls|mitnichten"
    r"|en absoluto|de ninguna manera|de ningun modo|para nada|ni hablar|assolutamente no|per niente"
    r"|niente affatto|macche"
    r"|de jeito nenhum|de modo algum|de forma alguma|nem pensar|ни в коем случае|нельзя|не нуж\w+|не требуется"
    r"|не надо|не может|no way|not at all|by no means|under no circumstances|on no account)\b"
)
CJK = re.compile(
    r"(?:(?P<no>不|否|没|沒|无需|無需|禁止|いいえ|いえ|できません|ありません|アウト|아니)|(?P<yes>是|对|對|可以|需要|有的|会的|會的|能|当然|當然|はい|ええ|そうです|もちろん|できます|네|예|맞습니다))"
)
REGRETS = words("regrets")
LEADS = re.compile(r"^(?:no|without) (?:doubt|problem|worries|question|a doubt)\b")


def read_yes_no(tokens: list[Token], text: str, wanted: bool, profile: Profile) -> str:
    """ "right", "wrong" or "unclear": the first clause with a yes or no decides, unless another says the contrary."""
    if (start := CJK.match(text)) and (start["yes"] or start["no"]):
        return "right" if bool(start["yes"]) == wanted else "wrong"
    segments = segments_of(text, tokens)
    said = [(number, word) for number, segment in enumerate(segments) if (word := _says(segment)) is not None]
    if said:
        if any(segments[number].asks for number, _ in said) and len(said) == 1 and len(segments) == 1:
            return "unclear"
        words = [word for number, word in said if not segments[number].asks]
        labelled = [word for number, word in said if _is_labelled(segments, number)]
        if labelled:
            return "right" if labelled[-1] == wanted else "wrong"
        if len(set(words)) > 1:
            return "wrong"
        unsure = any(cues.HEDGED.search(" ".join(segments[number].keys)) for number, _ in said)
        return "wrong" if unsure or words[:1] != [wanted] else "right"
    if MODAL.match(profile.text) and (allowed := _permits(segments)) is not None:
        return "right" if allowed == wanted else "wrong"
    for segment in segments:
        found = _clause(segment, profile)
        if found is not None:
            return "right" if found == wanted else "wrong"
    return "unclear" if any(overlap(segment.keys, profile) >= 0.5 for segment in segments) else "wrong"


def _permits(segments: list[Segment]) -> bool | None:
    """What one sentence says of what may be done: "Carry-over is not permitted", "Do not take it if ..."."""
    texts = [" ".join(segment.keys) for segment in segments if not segment.asks]
    if len({segment.sentence for segment in segments}) > 1 or any(cues.HEDGED.search(text) for text in texts):
        return None
    denied = any(FORBIDDEN.search(text) for text in texts)
    allowed = any(PERMITTED.search(FORBIDDEN.sub(" ", text)) for text in texts)
    return None if denied == allowed else allowed


def begins_with_no(text: str) -> bool:
    """Whether an answer begins by saying no."""
    keys = [token.key for token in tokens_of(text)[:6]]
    joined = " ".join(keys)
    return bool(keys) and (NO_WAY.match(joined) is not None or (keys[0] in NO and keys[0] != "no"))


def _is_labelled(segments: list[Segment], number: int) -> bool:
    return (
        segments[number].mark == ":"
        and number > 0
        and any(key in cues.ANSWER_WORDS for key in segments[number - 1].keys)
    ) or (
        any(key in cues.ANSWER_WORDS for key in segments[number].keys[:3])
        and bool({"is", "ist", "est", "es", "'s"} & set(segments[number].keys))
    )


def _says(segment: Segment) -> bool | None:
    """What a clause says outright: "yes", "the answer is no", "certainly"."""
    keys = segment.keys
    while len(keys) > 1 and keys[0] in REGRETS:
        keys = keys[1:]
    joined = " ".join(keys)
    if LEADS.match(joined):
        return None
    if re.fullmatch(
        r"of course|you bet|by all means|bien sur|por supuesto|claro que si|ma certo|certo che si|com certeza"
        r"|auf jeden fall|selbstverstandlich|naturlich|freilich|tout a fait|absolument|bien entendu|desde luego|claro"
        r"|ya lo creo|sem duvida|pois sim|pode sim|certamente|senz altro|naturalmente"
        r"|конечно|разумеется|безусловно|можно",
        joined,
    ):
        return True
    if NO_WAY.match(joined):
        return False
    if (
        keys[0] == "no"
        and len(keys) > 1
        and keys[1] not in cues.PRONOUNS | {"not", "way", "need", "you", "sir", "sorry"}
    ):
        return None if segment.tokens[1].gap == " " else False
    if keys[0] in YES and not (keys[0] in ("si", "correct") and len(keys) > 2):
        both = any(key in NO for key in keys[1:4]) and any(key in cues.ORS | {"and"} for key in keys[1:3])
        return None if both else True
    if (SURE_NOT.match(joined) and (segment.mark != "not" or keys == ["not"])) or keys[0] in NO:
        return False
    if keys[0] in SURE and segment.mark == "":
        return not any(key in ("not", "no") for key in keys)
    if any(key in cues.ANSWER_WORDS for key in keys) and keys[-1] in YES | NO:
        return (keys[-1] in YES) != ("not" in keys)
    if keys[-1] in ("yes", "no") and len(keys) > 1 and keys[-2] in ("is", "a", "clear", "say", "says", "be"):
        return keys[-1] == "yes" and "not" not in keys
    return None


def _clause(segment: Segment, profile: Profile) -> bool | None:
    """What a clause says by its verb: "it does not", or the question's own words as a statement."""
    joined = cues.NEUTRAL.sub(" ", " ".join(segment.keys))
    if segment.asks or cues.HEDGED.search(joined) or cues.SUPPOSED.search(joined):
        return None
    denied = re.search(rf"(?:^|\s){NOT}(?:\s|$)|\bno\b", joined) is not None
    if (short := SHORT.match(joined)) and (len(segment) <= 4 or overlap(segment.keys, profile) > 0.3):
        return not (short["no"] or short["no2"] or denied)
    return not denied if overlap(segment.keys, profile) >= 0.6 else None
