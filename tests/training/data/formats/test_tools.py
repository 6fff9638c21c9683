"""Tools, calls and results in the shapes that people have, each read as one that is written out by hand."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from training.data.conversation import ParsedRow
from training.data.formats.formats import parse_row, recognise_format

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BARE = {"name": "weather", "description": "Look outside.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": BARE}
USER = {"role": "user", "content": "Rain in Rome?"}
ANSWER = {"role": "assistant", "content": "No rain."}
RESULT = {"role": "tool", "content": "dry"}


def parsed(row: dict[str, Any]) -> ParsedRow:
    return parse_row(row, recognise_format(row))[0]


def read(messages: list[Any], key: str = "messages", **more: Any) -> list[dict[str, Any]]:
    return list(parsed({key: messages, **more}).conversation.messages)


def refused(messages: list[Any], **more: Any) -> str:
    with pytest.raises(ValueError) as error:
        read(messages, **more)
    return str(error.value)


def called(*arguments: dict[str, Any], text: str = "", ids: tuple[str, ...] = ()) -> dict[str, Any]:
    calls = [{"type": "function", "function": {"name": "weather", "arguments": each}} for each in arguments]
    for call, identity in zip(calls, ids, strict=False):
        call["id"] = identity
    return {"role": "assistant", "content": text, "tool_calls": calls}


ROME = called({"city": "Rome"})
READ = [USER, ROME, RESULT, ANSWER]


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL],
        json.dumps([TOOL]),
        [BARE],
        BARE,
        [json.dumps(BARE)],
        [{"type": "function", **BARE}],
        [{"type": "function", "function": {**BARE, "parameters": json.dumps(SCHEMA)}}],
        [{"name": "weather", "description": "Look outside.", "input_schema": SCHEMA}],
        [{"type": "function", "function": {**BARE, "return": {"type": "string"}, "strict": None}, "extra": None}],
    ],
)
def test_tools(tools: object) -> None:
    assert parsed({"messages": [USER, ANSWER], "tools": tools}).conversation.tools == (TOOL,)


def test_tools_have_the_keys_that_the_endpoint_gives_to_the_template_in_its_order() -> None:
    tools = [{"function": {"required": ["a"], "strict": True, "parameters": {}, "name": "f"}, "type": "function"}]
    row, not_used = parse_row({"messages": [USER, ANSWER], "tools": tools}, "chat messages")
    assert json.dumps(row.conversation.tools[0]) == json.dumps(
        {"type": "function", "function": {"name": "f", "description": None, "parameters": {}, "strict": True}}
    )
    assert not_used == {"tools.required"}


@pytest.mark.parametrize("tools", [None, [], "[]", "", "null", {}])
def test_a_row_without_tools(tools: object) -> None:
    assert parsed({"messages": [USER, ANSWER], "tools": tools}).conversation.tools == ()


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ("[{]", "`tools` is not JSON (Expecting property name"),
        (3, "`tools` is a JSON number, not a list of tools"),
        ([3], "tool 1 is a JSON number, not an object with a `name`"),
        ([{}, TOOL], "tool 1 has no `name` that is a string"),
        ([{"type": "web_search"}], "tool 1 is of the type 'web_search'; only functions are read"),
        ([TOOL, BARE], "`tools` has two tools with the name 'weather'"),
        ([{"name": "f", "parameters": [1]}], "`parameters` of tool 1 is a JSON array, not an object"),
        ([{"name": "f", "description": 1}], "`description` of tool 1 is a JSON number, not a string"),
        ('[{"name": "f", "name": "g"}]', "`tools` has the key 'name' twice in one object"),
        ([{"name": "f", "parameters": {"default": float("nan")}}], "holds nan, which is no number in JSON"),
    ],
)
def test_tools_that_are_none(tools: object, reason: str) -> None:
    assert reason in refused([USER, ANSWER], tools=tools)


def test_legacy_functions() -> None:
    row = {
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "weather", "arguments": '{"city": "Rome"}'},
            },
            {"role": "function", "name": "weather", "content": "dry"},
            ANSWER,
        ],
        "functions": [BARE],
        "function_call": "auto",
    }
    conversation = parsed(row).conversation
    assert list(conversation.messages) == [USER, ROME, {**RESULT, "name": "weather"}, ANSWER]
    assert conversation.tools == (TOOL,)
    assert "has `tools` and `functions`, which differ" in refused(
        [USER, ANSWER], tools=[TOOL], functions=[{"name": "f"}]
    )


@pytest.mark.parametrize(
    "function",
    [
        {"name": "weather", "arguments": {"city": "Rome"}},
        {"name": "weather", "arguments": '{"city": "Rome"}'},
        {"name": "weather", "parameters": {"city": "Rome"}},
    ],
)
def test_calls(function: dict[str, Any]) -> None:
    for call in ({"type": "function", "function": function}, {"function": function}, function, json.dumps(function)):
        for calls in ([call], call, json.dumps([call]) if isinstance(call, dict) else [call]):
            assert read([USER, {"role": "assistant", "tool_calls": calls}, RESULT, ANSWER]) == READ
    for role in ("function_call", "tool_call"):
        for value in (function, json.dumps(function), json.dumps([function])):
            assert read([USER, {"role": role, "content": value}, RESULT, ANSWER]) == READ


@pytest.mark.parametrize("role", ["tool", "function", "observation", "tool_response"])
def test_results_of_sharegpt(role: str) -> None:
    turns = [
        {"from": "human", "value": "Rain in Rome?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
        {"from": role, "value": "dry"},
        {"from": "gpt", "value": "No rain."},
    ]
    assert read(turns, "conversations", tools=json.dumps([BARE])) == READ


@pytest.mark.parametrize("arguments", [None, "", "{}", {}])
def test_calls_without_arguments(arguments: object) -> None:
    function = {"name": "weather", "arguments": arguments}
    assert read([USER, {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}]) == [
        USER,
        called({}),
    ]


def test_several_calls_their_ids_and_the_text_beside_them() -> None:
    message = called({"city": "Rome"}, {"city": "Bonn"}, text="I look.", ids=("a", "b"))
    results = [{**RESULT, "tool_call_id": each} for each in ("b", "a")]
    assert read([USER, message, *results, ANSWER], parallel_tool_calls=True, tool_choice="auto") == [
        USER, message, *results, ANSWER,
    ]  # fmt: skip


def test_messages_that_are_only_a_call_belong_to_the_turn_before() -> None:
    """ms-swift: one message for each call, behind what is said."""
    calls = [{"role": "tool_call", "content": json.dumps({"name": "weather", "arguments": {"city": city}})}
             for city in ("Rome", "Bonn")]  # fmt: skip
    results = [{"role": "tool_response", "content": "dry"}] * 2
    both = called({"city": "Rome"}, {"city": "Bonn"})
    assert read([USER, *calls, *results, ANSWER]) == [USER, both, RESULT, RESULT, ANSWER]
    said = {"role": "assistant", "content": "I look."}
    assert read([USER, said, *calls, *results, ANSWER]) == [
        USER,
        {**both, "content": "I look."},
        RESULT,
        RESULT,
        ANSWER,
    ]
    assert "only one of them is learnt" in refused([USER, {**said, "loss": False}, *calls, *results, ANSWER])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"rain": 0.5, "text": "ü"}, '{"rain": 0.5, "text": "ü"}'),
        ([1, 2], "[1, 2]"),
        ([{"a": 1}], '[{"a": 1}]'),
        (5, "5"),
        (None, ""),
        ("", ""),
        ("{}", "{}"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\nb"),
    ],
)
def test_results_are_text(content: object, text: str) -> None:
    assert read([USER, ROME, {"role": "tool", "content": content}, ANSWER])[2] == {"role": "tool", "content": text}


def test_parts_of_llama_factory() -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "value": "Rain in Rome?"}], "loss_weight": 0.0},
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "value": "I must look."},
                    {"type": "tool_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
                    {"type": "tool_call", "value": '{"name": "weather", "arguments": {"city": "Bonn"}}'},
                ],
                "loss_weight": 1.0,
            },
            {"role": "tool", "content": [{"type": "text", "value": "dry"}]},
            {"role": "assistant", "content": [{"type": "text", "value": "No rain."}]},
        ],
        "tools": json.dumps([TOOL]),
    }
    both = called({"city": "Rome"}, {"city": "Bonn"})
    assert list(parsed(row).conversation.messages) == [
        USER, {**both, "reasoning_content": "I must look."}, RESULT, ANSWER,
    ]  # fmt: skip


def test_a_chain_of_calls_and_other_questions() -> None:
    chain = [USER, ROME, RESULT, called({"city": "Bonn"}), RESULT, ANSWER]
    assert read([*chain, *chain, USER, ROME]) == [*chain, *chain, USER, ROME]


def test_calls_that_are_text_stay_text() -> None:
    """Hermes: tools in the system message, calls and results in tags."""
    messages = [
        {"role": "system", "content": "<tools>[]</tools>"},
        USER,
        {"role": "assistant", "content": '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'},
        {"role": "tool", "content": "<tool_response>\ndry\n</tool_response>"},
        ANSWER,
    ]
    assert read(messages) == messages


def test_preference_pairs_with_tools() -> None:
    row = {
        "input": {"messages": [USER], "tools": [TOOL], "parallel_tool_calls": True},
        "preferred_output": [ROME],
        "non_preferred_output": [ANSWER],
    }
    pair = parse_row(row, "preference pairs")[0]
    assert pair.conversation.tools == (TOOL,)
    assert pair.conversation.messages == (USER, ROME)
    assert pair.rejected == (USER, ANSWER)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([USER, {"role": "tool_call", "content": "weather(Rome)"}, RESULT, ANSWER], "content of message 2 is not JSON"),
        ([USER, {"role": "tool_call", "content": "[]"}, RESULT, ANSWER], "content of message 2 holds no call"),
        ([USER, {"role": "tool_call", "content": ""}, RESULT, ANSWER], "message 2 is a JSON null, not an object"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}], "has no `name` that is"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], "is not JSON"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}],
         "`arguments` of `tool_calls` of message 2 is a JSON array, not an object"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]}], "a JSON number"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1, "a": 2}'}}]}],
         "has the key 'a' twice"),
        ([USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": NaN}'}}]}],
         "holds nan, which is no number in JSON"),
        ([USER, {"role": "assistant", "tool_calls": [{"type": "code", "name": "f"}]}], "only functions are called"),
        ([USER, {"role": "assistant", "tool_calls": [{"name": "f", "priority": 3}]}], "the key `priority`"),
        ([USER, {**ROME, "function_call": {"name": "g"}}], "has `tool_calls` and `function_call`, which differ"),
        ([USER, RESULT, ANSWER], "message 2 is the result of a tool, and nothing before it calls one"),
        ([USER, ANSWER, RESULT, ANSWER], "message 3 is the result of a tool, and message 2 calls none"),
        ([RESULT, ANSWER], "message 1 is the result of a tool, and nothing before it calls one"),
        ([USER, ROME, USER, ANSWER], "message 2 calls tools, and message 3 is no result of them"),
        ([USER, ROME, ANSWER], "message 2 calls tools, and message 3 is no result of them"),
        ([USER, ROME, RESULT, USER, ANSWER], "message 4 has the role 'user' behind the result of a tool"),
        ([USER, ROME, RESULT], "the last message is not the assistant's"),
        ([USER, called({}, ids=("a",)), {**RESULT, "tool_call_id": "b"}, ANSWER], "the call 'b', which message 2"),
        ([USER, ROME, {**RESULT, "tool_call_id": "b"}, ANSWER], "the call 'b', which message 2 does not make"),
        ([USER, called({}, {}, ids=("a", "a"))], "two calls in `tool_calls` of message 2 have the same id"),
        ([USER, called({}, {}, ids=("a", "b")), {**RESULT, "tool_call_id": "a"}, ANSWER], "the call 'b' of message"),
        ([USER, called({}, ids=("a",)), *[{**RESULT, "tool_call_id": "a"}] * 2, ANSWER], "another result of the call"),
        ([{**USER, "tool_calls": ROME["tool_calls"]}, ANSWER], "`tool_calls`, which a message of its role cannot have"),
        ([USER, {**ANSWER, "tool_call_id": "a"}], "`tool_call_id`, which a message of its role cannot have"),
        ([USER, ROME, {**RESULT, "reasoning": "Hm."}, ANSWER], "`reasoning`, which a message of its role cannot have"),
        ([{**USER, "tools": [TOOL]}, ANSWER], "message 1 has `tools`; tools are read from `tools` of the row"),
        ([USER, {"role": "assistant", "content": [{"type": "tool_call", "value": "{}"}]}], "no `name` that is"),
        ([USER, {"role": "assistant", "content": [{"type": "tool_call", "value": '{"name": "f"}'}, {"text": "a"}]}],
         "part 2 of the content of message 2 is text behind a call; it must come first"),
    ],
)  # fmt: skip
def test_calls_and_results_that_cannot_be_read(messages: list[Any], reason: str) -> None:
    assert reason in refused(messages)


def test_turns_that_call_are_not_merged() -> None:
    from training.data.formats.reading import RowOptions

    merging = RowOptions(consecutive_turns="merge")
    with pytest.raises(ValueError, match=r"cannot be merged: message 3 calls tools or thinks"):
        parse_row({"messages": [USER, ANSWER, ROME]}, "chat messages", merging)
    results = {"messages": [USER, called({}, {}), RESULT, RESULT, ANSWER]}
    assert len(parse_row(results, "chat messages", merging)[0].conversation.messages) == 5


def test_nulls_that_parquet_writes_are_not_learnt() -> None:
    """A column of objects has every key in every row."""
    refuses: list[Any] = [None, {"type": "integer"}, {"type": "string", "enum": ["a"]}]
    takes: list[Any] = [{"type": ["integer", "null"]}, {"anyOf": []}, {"type": "integer", "nullable": True},
                        {"type": "string", "enum": ["a", None]}, {"type": "integer", "default": None}]  # fmt: skip
    for schema, taken in [(each, False) for each in refuses] + [(each, True) for each in takes]:
        properties = {"city": {"type": "string"}} | ({"days": schema} if schema else {})
        tools = [{"name": "weather", "parameters": {"type": "object", "properties": properties}}]
        messages = [USER, called({"city": "Rome", "days": None})]
        if taken:
            assert read(messages, tools=tools) == messages
        else:
            assert "the argument `days` of a call of weather in message 2 is null" in refused(messages, tools=tools)
    assert read([USER, called({"days": None})]) == [USER, called({"days": None})]
    null = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}, "b": None}}}
    assert "have a property that is null" in refused([USER, ANSWER], tools=[null])


@pytest.mark.parametrize("value", [date(2026, 1, 2), b"dry", Decimal("1.5")])
def test_values_that_only_parquet_has_are_refused(value: Any) -> None:
    """They would end the command in a traceback, or in what the template makes of them."""
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": value}}}]}
    calls = {**call, "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    result, answer = {"role": "tool", "content": {"a": [value]}}, {"role": "assistant", "content": "Yo"}
    question = {"role": "user", "content": "Hi"}
    for messages in ([question, call], [question, calls, result, answer]):
        with pytest.raises(ValueError, match="which JSON cannot write"):
            parse_row({"messages": messages}, "chat messages")
