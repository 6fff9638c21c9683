"""Draft questions: facts with their place, a model that is believed only where it quotes, an endpoint that dies."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from cluster.errors import TandemError
from evaluation.drafts.documents import Documents, DraftDocument
from evaluation.drafts.draft_files import Draft, approved_questions, is_draft, read_drafts, refuse_draft, write_drafts
from evaluation.drafts.drafting import DraftPassage, DraftWriter, check_reply, draft_questions, find_passages
from evaluation.drafts.facts import find_facts
from evaluation.questions.question import Question

LIBRARY = """\
---
title: Library guide
owner: "Facilities"
---
# Main library

Opening hours: 9 a.m.\r
- **Phone:** 555-0100
* __Mail__: desk@example.org
- See: [the map](map.md)
Note: this line has far more words behind its colon than any value of a fact would have, so it is none.

| Room     | Seats | ISBN |
|----------|:-----:|------|
| Garden   | 40    | `12` |
| Map room | 12    |      |

```
key: value
```
The floor of Map room is 2. The height of Map room is 15.5.
"""


def document(text: str, source: str = "a.md") -> DraftDocument:
    return DraftDocument(source, Path(source), text)


def prose(number: int) -> DraftDocument:
    text = f"Room {number} was built in the year {1900 + number} by people who liked to read long books in the evening."
    return document(f"# Room {number}\n\n{text}\n", f"{number}.md")


def test_facts_are_found_with_their_places() -> None:
    facts = find_facts(document(LIBRARY))
    assert [(fact.question, fact.value) for fact in facts] == [
        ("What is the owner of Main library?", "Facilities"),
        ("What is the opening hours of Main library?", "9 a.m."),
        ("What is the phone of Main library?", "555-0100"),
        ("What is the mail of Main library?", "desk@example.org"),
        ("What is the seats of Garden?", "40"),
        ("What is the ISBN of Garden?", "12"),
        ("What is the seats of Map room?", "12"),
        ("What is the floor of Map room?", "2"),
        ("What is the height of Map room?", "15.5"),
    ]
    assert all(LIBRARY[fact.start : fact.start + len(fact.value)] == fact.value for fact in facts)


def test_facts_are_spread_over_the_documents_and_contradictions_left_out() -> None:
    one = document("# One\n" + "".join(f"key {letter}: {letter}\n" for letter in "abcdefgh"), "one.md")
    documents = Documents(
        (one, document("# Two\nkey: 2\n", "two.md"), document("# Two\nkey: 3\nlock: 4\n", "3.md")), ()
    )
    drafted = draft_questions(documents, 2)
    assert {each.sources[0] for each in drafted.drafts} == {"one.md", "3.md"}
    assert drafted.left_out["the documents give two answers"] == 2
    assert draft_questions(documents, 2).drafts == drafted.drafts
    assert len(draft_questions(documents, 100).drafts) == 9


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ({"question": "When?", "answer": "1901", "quote": "built in the year 1901 by people"}, None),
        ({"question": "When?", "answer": "1901", "quote": "built in 1901 by people"}, "quote does not stand"),
        ({"question": "When?", "answer": "190", "quote": "built in the year 1901 by people"}, "answer does not stand"),
        ({"question": "When?", "answer": "1902", "quote": "built in the year 1901 by people"}, "answer does not stand"),
        ({"question": " ", "answer": "1901", "quote": "year 1901"}, "is empty"),
        ({"question": "When?", "answer": "1901", "quote": ""}, "quote does not stand"),
        ({"question": "When?", "answer": 1901, "quote": "year 1901"}, "not the JSON"),
        (["When?"], "not the JSON"),
        ("I cannot do that.", "not the JSON"),
    ],
)
def test_a_draft_is_kept_only_where_quote_and_answer_stand(reply: Any, found: str | None) -> None:
    (passage,) = find_passages(prose(1))
    text = reply if isinstance(reply, str) else f"Here it is:\n```json\n{json.dumps(reply)}\n```"
    checked = check_reply(passage, text, "p")
    if found is not None:
        assert isinstance(checked, str)
        assert found in checked
        return
    assert isinstance(checked, Draft)
    assert checked.span
    assert passage.document.text[checked.span.start : checked.span.end] == reply["quote"]
    assert checked.approved is None


def test_short_paragraphs_and_headings_are_no_passages_and_neighbours_are_joined() -> None:
    paragraph = "One two three four five six seven eight nine ten eleven twelve."
    text = f"# Title\n\n{paragraph}\n\nShort.\n\n{paragraph}\r\n\r\n{'word ' * 400}\n"
    joined, long = find_passages(document(text))
    assert joined.text == f"{paragraph}\n\nShort.\n\n{paragraph}"
    assert len(long.text) == 1500


@contextmanager
def endpoint(answer: Callable[[int, str], str | None]) -> Iterator[str]:
    """An OpenAI-compatible server; `answer` gets the call's number and the prompt, None is a 500."""
    calls, lock = iter(range(10**6)), Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                text = answer(next(calls), body["messages"][0]["content"])
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            value = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            content = json.dumps({"error": {"message": "gone"}} if text is None else value).encode()
            self.send_response(500 if text is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def well(call: int, prompt: str) -> str:
    year = prompt.split("in the year ")[1][:4]
    number = int(year) - 1900
    quote = f"Room {number} was built in the year {year}"
    return json.dumps({"question": f"When was room {number} built?", "answer": year, "quote": quote})


def documents_of(number: int) -> Documents:
    return Documents(tuple(prose(each) for each in range(number)), ())


def test_a_model_drafts_from_prose_until_there_are_enough() -> None:
    with endpoint(well) as url:
        drafted = draft_questions(documents_of(30), 12, DraftWriter(url, "m", concurrency=4))
    assert len(drafted.drafts) == 12
    assert all(each.slice == "prose" and each.answers[0] in (each.reference or "") for each in drafted.drafts)
    assert not +drafted.left_out


def test_what_is_not_as_it_should_be_is_counted_and_others_fill_up() -> None:
    def half(call: int, prompt: str) -> str | None:
        return (None, "no JSON", well(call, prompt), well(call, prompt))[call % 4]

    with endpoint(half) as url:
        drafted = draft_questions(documents_of(40), 8, DraftWriter(url, "m", concurrency=2))
    assert len(drafted.drafts) == 8
    assert drafted.left_out["the call failed"] >= 3
    assert drafted.left_out["the reply is not the JSON that was asked for"] >= 3
    assert drafted.gave_up is None


def test_an_endpoint_that_dies_keeps_what_was_drafted() -> None:
    with endpoint(lambda call, prompt: well(call, prompt) if call < 6 else None) as url:
        drafted = draft_questions(documents_of(40), 30, DraftWriter(url, "m", concurrency=1))
    assert len(drafted.drafts) == 6
    assert drafted.left_out["the call failed"] == 5
    assert drafted.gave_up
    assert "500" in drafted.gave_up


def test_an_endpoint_that_is_not_there_is_given_up() -> None:
    drafted = draft_questions(documents_of(40), 30, DraftWriter("http://127.0.0.1:9/v1", "m", concurrency=1))
    assert (drafted.drafts, drafted.left_out["the call failed"]) == ([], 5)
    assert drafted.gave_up
    assert "could not be reached" in drafted.gave_up


def test_without_documents_there_is_an_error() -> None:
    with pytest.raises(TandemError, match=r"No document could be read: 3 files with \.pdf"):
        draft_questions(Documents((), ("3 files with .pdf",)), 5)


def test_drafts_are_accepted_once_each_is_decided_on(tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    drafts = draft_questions(Documents((document(LIBRARY),), ()), 3).drafts
    write_drafts(path, drafts)
    assert read_drafts(path) == drafts
    assert is_draft(path)
    with pytest.raises(TandemError, match=r"is a draft: .* Run `tandem questions approve"):
        refuse_draft(path)
    with pytest.raises(TandemError, match=r"3 of 3 questions in .* have not been decided on: fact-0000, fact-0001"):
        approved_questions(path)
    write_drafts(path, [each.model_copy(update={"approved": number == 1}) for number, each in enumerate(drafts)])
    (taken,) = approved_questions(path)
    assert type(taken) is Question
    assert taken.question == drafts[1].question
    write_drafts(path, [each.model_copy(update={"approved": False}) for each in drafts])
    with pytest.raises(TandemError, match=r"No question in .* was approved"):
        approved_questions(path)


def test_a_line_that_is_no_draft_is_named(tmp_path: Path) -> None:
    path = tmp_path / "draft.jsonl"
    path.write_text('{"id": "a", "slice": "s", "question": "Who?", "answers": [], "approved": null}\n')
    with pytest.raises(TandemError, match=r"draft\.jsonl:1: .*at least one accepted answer"):
        read_drafts(path)
    with pytest.raises(TandemError, match="cannot be read"):
        read_drafts(tmp_path / "gone.jsonl")
    path.write_text("\n")
    with pytest.raises(TandemError, match="holds no questions"):
        read_drafts(path)
    assert not is_draft(tmp_path / "gone.jsonl")
    assert DraftPassage(document("abc"), 1, 2).text == "b"
