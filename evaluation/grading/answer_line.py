"""The line that a reply may be asked to end with (`evaluation.answer_line`), and the value on it.

with_answer_line("How far is it?")  # the question, and how to end the reply
read_answer_line("It is near.\\n**Answer:** 5 km")  # "5 km"

The same sentence goes to every arm, for questions whose answer is read as a value and that ask for no form.
"""

import re

from evaluation.questions.question import Question

LINED_KINDS = ("value", "number")
ANSWER_SENTENCE = 'Write the answer alone on the last line, after the word "Answer:".'
_LABELS = (
    "answers?|final answer|the answer is|the final answer is|antwort|réponse|respuesta|resposta|risposta|antwoord|"
    "odpowiedź|odpověď|svar|vastaus|válasz|răspuns|cevap|yanıt|jawaban|trả lời|đáp án|câu trả lời|απάντηση|ответ|"
    "відповідь|отговор|答案|最终答案|最終答案|回答|答え|答|정답|답|답변|الجواب|الإجابة|جواب|תשובה|उत्तर|คำตอบ"
)
_BEFORE = r"(?:>\s*|[-+•]\s+|#{1,6}\s+|[*_`]+)*"
_LINE = re.compile(rf"^\s*{_BEFORE}\s*(?:{_LABELS})\s*[*_`]*\s*[:\uff1a]\s*(.*)$", re.IGNORECASE)


def is_lined(question: Question) -> bool:
    """Whether the answer to a question may be asked for on a line of its own."""
    return question.kind in LINED_KINDS and question.form is None


def with_answer_line(wording: str) -> str:
    """A question with the sentence that asks for the line."""
    return f"{wording}\n\n{ANSWER_SENTENCE}"


def read_answer_line(text: str) -> str:
    """What stands on the last line that begins with "Answer:", in any of many languages; else the text as it is.

    Where the word stands alone, the next line with words is the answer.
    """
    lines = text.splitlines()
    for number in range(len(lines) - 1, -1, -1):
        found = _LINE.match(lines[number])
        if found is None:
            continue
        for said in (found[1], *lines[number + 1 :]):
            if value := said.strip().strip("*_`").strip():
                return value
        return ""
    return text
