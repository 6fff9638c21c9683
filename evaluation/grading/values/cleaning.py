"""An answer without its dress: the words as a reader sees them, one line for each thing that stands apart.

    clean("**Paris**【1】 😊")              # "Paris"
    clean(r"The sum is $\\boxed{7}$.")      # "The sum is 7."

Taken away are Markdown, code fences, LaTeX, HTML, marks of citations and footnotes, emoji, and characters that are not
seen. What is struck out is gone. What stands in a box is the answer, and gets a line that says so.
"""

import html
import re

from evaluation.questions.words import plain_characters

FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$", re.MULTILINE)
STRUCK = re.compile(r"~~[^~\n]+~~|<(?:del|s|strike)>.*?</(?:del|s|strike)>", re.DOTALL | re.IGNORECASE)
LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\s]*(?: \"[^\"\n]*\")?\)")
HEADING = re.compile(r"^[ \t]{0,3}(?:#{1,6}[ \t]+|(?:>[ \t]?)+)", re.MULTILINE)
BULLET = re.compile(r"^[ \t]*(?:[-*+•‣◦▪·–][ \t]+|\((?:\d{1,2}|[a-hA-H])\)[ \t]+|[a-hA-H]\)[ \t]+)", re.MULTILINE)
NUMBERED = re.compile(r"^[ \t]*(\d{1,2})[.)][ \t]+(?=\S)", re.MULTILINE)
LETTERED = re.compile(r"(?:(?<=\s)|^)\((?:[a-hA-H]|\d)\)\s+(?=\w)")
INLINE = re.compile(r"(?:(?<=\s)|^)\(?([a-hA-H]|[1-9]|i{1,3}|iv|v)([).:])\s+(?=\w)")
RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.MULTILINE)
TABLE_HEAD = re.compile(r"^.*\|.*\n(?=[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*\|[ \t:|-]*$)", re.MULTILINE)
TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t:-]*)*$", re.MULTILINE)
EMPHASIS = re.compile(r"\*+(?=\S)|(?<=\S)\*+|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)|`+")
PERHAPS_MARKS = re.compile(r"[\[【［(<]")
CITATION = re.compile(
    r"\s*(?:\[\^?\d+(?:\s*[,;–-]\s*\^?\d+)*\]|【[^】\n]*】|［\d+］|\[\^[\w-]+\]"
    r"|[(\[](?:sources?|see|cf\.?|siehe|quelle|voir|ver|vedi|ref\.?|doc(?:ument)?|passage|according to)\b"
    r"[^)\]\n]*[)\]])",
    re.IGNORECASE,
)
FOOTNOTE = re.compile(r"(?<=[^\W\d_]{3})[¹²³⁴-⁹⁰]+(?!\w)|(?<=[.!?,;)\"'”*])[¹²³⁴-⁹⁰]+(?=\s|$)|(?<=\w)[†‡]+")
FOOTNOTE_TEXT = re.compile(r"^[ \t]*(?:\[\^?\d+\]:?|[¹²³]+)[ \t]+.*$", re.MULTILINE)
TAG_BREAK = re.compile(r"<(?:br|/p|/li|/div|/h\d|/tr)\b[^<>]*>", re.IGNORECASE)
TAG = re.compile(
    r"</?(?:a|b|i|u|p|q|em|br|li|ul|ol|td|th|tr|h[1-6]|div|sub|sup|pre|code|span|strong|small|mark|table|tbody|thead|kbd"
    r"|font|center|html|body|answer|blockquote|final|response|result)\b[^<>]*>",
    re.IGNORECASE,
)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
BOX = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
IN_BRACES = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|mathrm|mathbf|mathit|mathsf|mathtt|operatorname|emph|mbox|underline|unit|,)\s*"
    r"\{([^{}]*)\}"
)
LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
BARE_FRACTION = re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)")
LATEX_DEGREE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|\\textdegree")
LATEX_WORDS = {
    r"\times": "×", r"\cdot": "·", r"\approx": "≈", r"\%": "%", r"\$": "＄", r"\&": "&", r"\#": "#", r"\_": "_",
    r"\leq": "≤", r"\geq": "≥", r"\le": "≤", r"\ge": "≥", r"\pm": "±", r"\,": " ", r"\;": " ", r"\:": " ", r"\!": "",
    r"\ ": " ", r"\quad": " ", r"\(": " ", r"\)": " ", r"\[": "\n", r"\]": "\n", r"\to": ":", r"\rightarrow": ":",
}  # fmt: skip
LATEX_WORD = re.compile("|".join(re.escape(word) + (r"(?![a-zA-Z])" if word[-1].isalpha() else "") for word in
                                 sorted(LATEX_WORDS, key=len, reverse=True)))  # fmt: skip
LATEX_POWER = re.compile(r"\^\{(-?\d+)\}")
LATEX_INDEX = re.compile(r"(?<=[A-Za-z)])_\{?(\d+)\}?")
MATH = re.compile(r"\$\$([^$]+)\$\$|(?<![\w$])\$(?=\S)([^$\n]*?[^\s$])\$(?![\d$])")
SECRET = re.compile("[\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")
FLATS_AND_SHARPS = {"♭": "-flat", "♯": "-sharp", "♮": "-natural"}
FLAT_OR_SHARP = re.compile(r"(?<=\b[A-Ha-h]) ?[♭♯♮]")
EMOJI = re.compile(
    "[\U0001f000-\U0001fbff\u2600-\u27bf\u2b00-\u2bff\u231a-\u23ff\u20e3\u3297\u3299\U000e0020-\U000e007f]+"
)
ARROW = re.compile(r"\s*(?:→|⇒|⟶|➔|➜|=>|->)\s*")
DASH = re.compile(r"\s*[—―]\s*|\s+(?:–|--)\s+|\s+-\s+(?!\d)|(?<=[^\W\d_])\s*–\s*(?=[^\W\d_]+ )")
SMILEY = re.compile(r"(?<!\w)[:;]-?[)(DP](?!\w)")


def clean(answer: str) -> str:
    """The answer's words, with a line for each list item, paragraph and box."""
    text = answer
    if "\\" in text or "$" in text:
        text = _without_latex(text)
    if "<" in text or "&" in text:
        text = _without_html(text)
    text = _without_markdown(text)
    if not text.isascii():
        text = FLAT_OR_SHARP.sub(lambda sign: FLATS_AND_SHARPS[sign[0].strip()], text)
        text = EMOJI.sub(" ", FOOTNOTE.sub("", SECRET.sub("", text)))
    if PERHAPS_MARKS.search(text):
        text = CITATION.sub("", text)
    text = DASH.sub(" ¦ ", ARROW.sub(": ", text)) if _has_dashes(text) else text
    text = plain_characters(text).replace("＄", "$")
    return SMILEY.sub("", text).strip() if ":" in text or ";" in text else text.strip()


def _has_dashes(text: str) -> bool:
    return not text.isascii() or "->" in text or "=>" in text or "--" in text or " - " in text


def _without_latex(text: str) -> str:
    text = BOX.sub(lambda box: f"\nfinal answer: {box[1]}\n", text)
    text = LATEX_DEGREE.sub("°", BARE_FRACTION.sub(r"\1/\2", text))
    for _ in range(3):
        text = IN_BRACES.sub(r"\1", LATEX_FRACTION.sub(r"\1/\2", text))
    text = LATEX_INDEX.sub(r"\1", LATEX_POWER.sub(r"^\1", text)) if "_" in text else LATEX_POWER.sub(r"^\1", text)
    text = LATEX_WORD.sub(lambda word: LATEX_WORDS[word[0]], text)
    return MATH.sub(lambda math: math[1] or math[2], text)


def _without_html(text: str) -> str:
    text = TAG_BREAK.sub("\n", COMMENT.sub("", STRUCK.sub(" ", text)))
    return html.unescape(TAG.sub("", text)) if "&" in text else TAG.sub("", text)


def _without_markdown(text: str) -> str:
    if "```" in text or "~~~" in text:
        text = FENCE.sub("", text)
    if "~~" in text:
        text = STRUCK.sub(" ", text)
    if "[" in text:
        text = LINK.sub(r"\1", text)
        text = FOOTNOTE_TEXT.sub("", text) if "\n" in text else text
    if "(" in text and len(LETTERED.findall(text)) > 1:
        text = LETTERED.sub("\n", text)
    if "\n" in text or text[:1] in "#>-*+•| \t(":
        text = RULE.sub("", TABLE_RULE.sub("", TABLE_HEAD.sub("", text))) if "\n" in text else text
        text = BULLET.sub("\n", HEADING.sub("", text))
    text = _without_inline_list(text)
    if len(NUMBERED.findall(text)) > 1:
        text = NUMBERED.sub("\n", text)
    if "|" in text:
        text = text.replace("|", "\n" if text.count("|") < 3 else " ; ")
    return EMPHASIS.sub("", text)


def _without_inline_list(text: str) -> str:
    """Each item of "a) tin b) zinc c) lead" on a line of its own; the marks follow one another from the first."""
    marks = list(INLINE.finditer(text)) if ")" in text or ". " in text or ": " in text else []
    names = [mark[1].casefold() for mark in marks]
    series = next((row for row in ("abcdefgh", "123456789") if names == list(row[: len(names)])), "")
    roman = names == ["i", "ii", "iii", "iv", "v"][: len(names)]
    if len(marks) < 2 or len({mark[2] for mark in marks}) > 1 or not (series or roman):
        return text
    return INLINE.sub("\n", text)
