"""Questions that list their choices by letters in their own words: "Which gas is noble? A) oxygen B) neon".

    read_letter("Which gas is noble? A) oxygen B) neon", ["B", "neon"], "That leaves B.")     # "right"

Such a question has no choices of its own (choices.py grades those); the answer may say the letter, the text or both.
"""

import re

CHOICE = re.compile(r"(?:(?<=\s)|^)\(?([A-Ha-h])[).:]\s*(.+?)(?=\s+\(?[A-Ha-h][).:]\s|[?.]?\s*$)")
LETTER = re.compile(
    r"^\W*\(?([A-Ha-h])\)?\W*$"
    r"|\b(?:option|choice|answer|letter|opci[oó]n|respuesta|opção|resposta|opzione|risposta|réponse|lettre|choix|antwort"
    r"|buchstabe|lösung|вариант|ответ)(?:\s+(?:is|es|é|è|est|ist|lautet))?\s*:?\s*\(?([A-Ha-h])\b"
    r"|\b(?:leaves|is|it's|so|therefore|thus|choose|pick|select|daher|also|donc|entonces|quindi|portanto)\s+\(?([A-H])\)?\W*$"
    r"|^\W*\(?([A-H])[).:]\s+\S",
    re.IGNORECASE | re.MULTILINE,
)


def read_letter(question: str, values: list[str], text: str) -> str:
    """ "right", "wrong", or "" where the question lists no choices or the answer says no letter."""
    choices = {match[1].upper(): match[2].strip(" ,;.?").casefold() for match in CHOICE.finditer(question)}
    if len(choices) < 2 or sorted(choices) != [chr(65 + number) for number in range(len(choices))]:
        return ""
    accepted = {value.strip(" ().").upper() for value in values if len(value.strip(" ().")) == 1}
    accepted |= {letter for letter, choice in choices.items() if choice in {value.casefold() for value in values}}
    if not accepted:
        return ""
    if sum(choice in text.casefold() for choice in choices.values()) == len(choices) and len(text) < 2 * len(question):
        listed = sum(len(choice) for choice in choices.values())
        if len(re.sub(r"[^\w]", "", text)) <= listed + len(choices):
            return "wrong"
    said = [letter.upper() for match in LETTER.finditer(text) if (letter := next(filter(None, match.groups()), None))]
    said = [letter for letter in said if letter in choices]
    if not said:
        return ""
    return "right" if said[-1] in accepted else "wrong"
