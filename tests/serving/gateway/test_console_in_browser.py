"""The console in Chromium, in front of a stand-in for the endpoint: what a person sees of answers and of errors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browsing import DESKTOP, PHONE, Scheme, Watched, watched
from tests.serving.console_server import EVIL, ConsoleServer, console_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def server() -> Iterator[ConsoleServer]:
    with console_server() as started:
        yield started


@pytest.fixture
def console(browser: "Browser", server: ConsoleServer) -> Iterator[Watched]:
    with watched(browser, server.url) as seen:
        seen.page.goto(server.url)
        expect(seen.page.locator("#status")).to_have_text("5 model names")
        yield seen


def ask(seen: Watched, question: str, first: str = "base", second: str = "") -> None:
    seen.page.get_by_label("Model").select_option(first)
    seen.page.get_by_label("Beside it").select_option(second)
    seen.page.get_by_label("Question").fill(question)
    seen.page.get_by_role("button", name="Ask").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_console_fits_is_legible_and_asks_only_its_endpoint(
    browser: "Browser", server: ConsoleServer, size: tuple[int, int], scheme: Scheme
) -> None:
    with watched(browser, server.url, size, scheme) as seen:
        seen.page.goto(server.url)
        ask(seen, "What is the number of Iron?", "base", "base:helpdesk@2+docs")
        expect(seen.page.locator("details")).to_have_count(2)
        seen.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        expect(seen.page.locator(".facts").first).to_be_visible()
        assert seen.overflow() == 0
        assert seen.poor_contrasts() == {}
        assert seen.errors == []


def test_what_is_served_is_listed(console: Watched) -> None:
    page = console.page
    names = ["base", "base:helpdesk", "base:helpdesk@2", "base+docs", "base:helpdesk@2+docs"]
    assert page.locator("#first option").all_text_contents() == names
    assert page.locator("#second option").all_text_contents() == ["no other", *names]
    assert page.locator("#collections li").all_text_contents() == ["docs"]
    assert page.locator("#adapters tr").all_text_contents() == ["helpdesk@2live2026-11-22", "helpdesk@12026-11-01"]
    expect(page.locator("#report")).to_contain_text("Use retrieval.")
    expect(page.locator("#report")).to_contain_text("90 % (85 % to 94 %)")
    expect(page.locator("#report")).to_contain_text("tuned_retrieval80 % (71 % to 87 %)")


def test_an_answer_comes_as_it_is_made_with_its_passages(console: Watched, server: ConsoleServer) -> None:
    server.goes_on.clear()
    ask(console, "What is the number of Iron?", "base:helpdesk@2+docs")
    answer = console.page.locator(".answer")
    expect(answer).to_have_text("The number ")
    assert console.page.locator("details").count() == 0
    server.goes_on.set()
    expect(answer).to_have_text(f"The number is 26 [1]. {EVIL}")
    expect(console.page.locator("details")).to_have_count(2)
    console.page.locator("details.cited summary").click()
    expect(console.page.locator("details.cited p")).to_have_text(f"The atomic number of Iron is 26. {EVIL}")
    assert console.page.locator("img").count() == 0
    assert server.asked[-1]["retrieval"] == {"return_passages": True} and server.asked[-1]["stream"] is True
    expect(console.page.locator(".facts").first).to_contain_text("12 ms of retrieval")
    assert console.errors == []


def test_a_conversation_goes_on_until_a_new_one_is_begun(console: Watched, server: ConsoleServer) -> None:
    for question in ("First?", "Second?"):
        ask(console, question)
        expect(console.page.locator("#question")).to_have_value("")
        expect(console.page.locator("#stop")).to_be_disabled()
    said = [turn["content"] for turn in server.asked[-1]["messages"]]
    assert said == ["First?", f"The number is 26 [1]. {EVIL}", "Second?"]
    console.page.get_by_role("button", name="New conversation").click()
    assert console.page.locator("article").count() == 0
    ask(console, "Third?")
    expect(console.page.locator(".answer")).to_contain_text("26")
    assert [turn["content"] for turn in server.asked[-1]["messages"]] == ["Third?"]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "The API key is not known."),
        (429, "Too many requests are waiting."),
        (503, "The engine is being replaced."),
    ],
)
def test_an_error_of_the_endpoint_is_shown_in_its_words(
    console: Watched, server: ConsoleServer, status: int, message: str
) -> None:
    server.fails["/v1/chat/completions"] = (status, message)
    ask(console, "What is the number of Iron?")
    expect(console.page.locator(".error")).to_have_text(message)
    server.fails.clear()
    ask(console, "And now?")
    expect(console.page.locator(".answer").first).to_contain_text("26")


def test_an_answer_that_breaks_off_says_why_and_keeps_what_came(console: Watched, server: ConsoleServer) -> None:
    server.breaks = True
    ask(console, "What is the number of Iron?")
    expect(console.page.locator(".error")).to_have_text("The engine is being replaced.")
    expect(console.page.locator(".answer")).to_have_text("The number ")


@pytest.mark.parametrize("by", ["button", "key"])
def test_stop_ends_the_answer_and_the_request(console: Watched, server: ConsoleServer, by: str) -> None:
    server.goes_on.clear()
    ask(console, "What is the number of Iron?")
    expect(console.page.locator(".answer")).to_have_text("The number ")
    if by == "button":
        console.page.get_by_role("button", name="Stop").click()
    else:
        console.page.keyboard.press("Escape")
    expect(console.page.locator(".error")).to_have_text("Stopped.")
    expect(console.page.locator("#stop")).to_be_disabled()
    assert server.gone.wait(5), "the endpoint can stop computing"
    assert console.errors == []


def test_a_key_is_sent_and_is_kept_for_this_tab_only(console: Watched, server: ConsoleServer) -> None:
    page = console.page
    expect(page.locator("#report")).to_contain_text("Use retrieval.")
    assert server.keys == [None] * 3
    page.get_by_label("API key").fill("sk-secret")
    page.get_by_label("API key").press("Tab")
    expect(page.locator("#status")).to_have_text("5 model names")
    ask(console, "What is the number of Iron?")
    expect(page.locator(".answer")).to_contain_text("26")
    assert server.keys[-1] == "Bearer sk-secret"
    assert page.evaluate("JSON.stringify(localStorage)") == "{}" and page.context.cookies() == []
    assert page.evaluate("sessionStorage.getItem('key')") == "sk-secret"
    assert "sk-secret" not in page.url


def test_a_missing_key_is_said_at_once(browser: "Browser", server: ConsoleServer) -> None:
    server.fails["/v1/models"] = (401, "An API key is needed.")
    with watched(browser, server.url) as seen:
        seen.page.goto(server.url)
        expect(seen.page.locator("#status")).to_have_text("An API key is needed.")
        server.fails.clear()
        seen.page.get_by_label("API key").fill("sk-secret")
        seen.page.get_by_label("API key").press("Enter")
        expect(seen.page.locator("#status")).to_have_text("5 model names")


def test_the_keyboard_is_enough(console: Watched) -> None:
    page = console.page
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("What is the number of Iron?")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".answer")).to_contain_text("26")
    expect(page.locator("#question")).to_be_focused()
