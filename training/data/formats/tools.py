"""Tools, their calls and their results as rows write them, read as the endpoint gives them to a chat template.

    tools        [{"type": "function", "function": {"name", "description", "parameters"}}], without the wrapper, as the
                 legacy `functions`, and each of these as a text of JSON
    calls        `tool_calls` of OpenAI with arguments as text or as an object, the legacy `function_call`, and messages
                 of the role function_call or tool_call whose text is the JSON of one call or several
    results      messages of the role tool, function, observation or tool_response

A tool has name, description and parameters, and `strict` where it is set: the keys that vLLM's own request type keeps
(vllm.entrypoints.openai, vLLM 0.29), in its order. Other keys of a tool reach no prompt, and are listed as not used.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from training.data.formats.keys import CALLS_KEYS, TOOLS_KEYS
from training.data.formats.values import json_type, parse_text

Call = dict[str, Any]

_THINKING_PARTS = ("reasoning", "thinking")
_CALL_PARTS = ("tool_call", "function_call")
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_PARAMETERS_KEYS = ("parameters", "input_schema")
_ARGUMENTS_KEYS = ("arguments", "parameters", "args", "input")


def parse_row_tools(row: Mapping[str, Any]) -> tuple[tuple[dict[str, Any], ...], set[str]]:
    """The tools of a row, and the keys of them that no prompt shows; OpenAI's pairs have theirs in `input`.

    Raises:
        ValueError: they cannot be read, or two keys hold different ones.
    """
    inner = row.get("input")
    places = [(f"`{key}`", row.get(key)) for key in TOOLS_KEYS]
    places += [(f"`{key}` of `input`", inner.get(key)) for key in TOOLS_KEYS if isinstance(inner, dict)]
    read = [(field, *parse_tools(value, field)) for field, value in places]
    given = [(field, tools) for field, tools, _ in read if tools]
    for field, tools in given[1:]:
        if tools != given[0][1]:
            raise ValueError(f"has {given[0][0]} and {field}, which differ")
    return (given[0][1] if given else ()), {key for _, _, unused in read for key in unused}


def parse_tools(value: Any, field: str) -> tuple[tuple[dict[str, Any], ...], set[str]]:
    """The tools of a row, and the keys of them that no prompt shows.

    Raises:
        ValueError: the value is no list of tools, or one of them has no name, or a name is given twice.
    """
    value = _parse_json(value, field)
    if value is None:
        return (), set()
    if isinstance(value, dict):
        value = [value] if value else []
    if not isinstance(value, list):
        raise ValueError(f"{field} is a JSON {json_type(value)}, not a list of tools")
    tools, unused = [], set[str]()
    for number, each in enumerate(value, start=1):
        tool, more = _parse_tool(_parse_json(each, f"tool {number}"), f"tool {number}")
        tools.append(tool)
        unused |= {f"{field.strip('`')}.{key}" for key in more}
    names = [tool["function"]["name"] for tool in tools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{field} has two tools with the name {twice!r}")
    return tuple(tools), unused


def check_nulls(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> None:
    """Check that no argument is null where its tool takes no null: a column of objects in Parquet has every key in
    every row, and the model would learn to write them.

    Raises:
        ValueError: one is.
    """
    known = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    for number, message in enumerate(messages, start=1):
        for call in message.get("tool_calls", ()):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            properties = (known.get(name) or {}).get("properties")
            for key, value in arguments.items():
                if value is None and isinstance(properties, dict) and not _takes_null(properties.get(key, False)):
                    raise ValueError(
                        f"the argument `{key}` of a call of {name} in message {number} is null, which its tool does "
                        "not take; in Parquet, write arguments as a text of JSON"
                    )


def _takes_null(schema: Any) -> bool:
    """Whether a JSON schema may take null; one that is not understood may."""
    if not isinstance(schema, dict):
        return bool(schema)
    if schema.get("nullable") or ("default" in schema and schema["default"] is None):
        return True
    kind, choices = schema.get("type"), schema.get("enum")
    return (isinstance(choices, list) and None in choices) or not isinstance(kind, str | list) or "null" in kind


def parse_calls(message: Mapping[str, Any], where: str) -> list[Call]:
    """The calls of an assistant's message, from the keys that hold them; empty where it calls nothing.

    Raises:
        ValueError: a call has no name, or arguments that are no object, or both keys are there and differ.
    """
    found = [(key, message[key]) for key in CALLS_KEYS if message.get(key)]
    read = [_parse_list_of_calls(value, f"`{key}` of {where}") for key, value in found]
    if len(read) > 1 and [_without_id(each) for each in read[0]] != read[1]:
        raise ValueError(f"{where} has `tool_calls` and `function_call`, which differ")
    return read[0] if read else []


def parse_called(value: Any, where: str) -> list[Call]:
    """The calls that a message of a role in `CALL_ROLES` holds.

    Raises:
        ValueError: it is not the JSON of a call or of a list of calls.
    """
    calls = _parse_list_of_calls(value, f"the content of {where}")
    if not calls:
        raise ValueError(f"the content of {where} holds no call")
    return calls


def parse_called_text(value: Any, where: str) -> tuple[str | None, list[Call]]:
    """The thinking and the calls of a message of a role in `CALL_ROLES`: the JSON of a call or of a list of calls, in
    front of which LLaMA-Factory lets `<think>...</think>` come.

    Raises:
        ValueError: it is not such a text.
    """
    thought = _THOUGHT.match(value) if isinstance(value, str) else None
    if thought is None:
        return None, parse_called(value, where)
    return thought[1].strip("\n"), parse_called(value[thought.end() :], where)


def take_parts(value: Any, where: str) -> tuple[Any, list[str], list[Call]]:
    """The content of an assistant's message less its parts of thinking and of calls (LLaMA-Factory's v1 format), and
    those.

    Raises:
        ValueError: a part holds no text or no call, or they are not in the order in which a model writes them:
            thinking, text, calls.
    """
    if not isinstance(value, list):
        return value, [], []
    rest, thoughts, calls = list[Any](), list[str](), list[Call]()
    for number, part in enumerate(value, start=1):
        kind = part.get("type") if isinstance(part, dict) else None
        field = f"part {number} of the content of {where}"
        if kind in _THINKING_PARTS:
            if rest or calls:
                raise ValueError(f"{field} is thinking behind the answer; it must come first")
            thoughts.append(_part_value(part, field, ("value", "text", kind)))
        elif kind in _CALL_PARTS:
            calls.extend(_parse_list_of_calls(_part_value(part, field, ("value", kind)), field))
        elif calls:
            raise ValueError(f"{field} is text behind a call; it must come first")
        else:
            rest.append(part)
    taken = thoughts or calls
    return (rest or "") if taken else value, thoughts, calls


def _part_value(part: Mapping[str, Any], field: str, keys: tuple[str, ...]) -> Any:
    given = [key for key in keys if part.get(key) is not None]
    if len(given) != 1:
        raise ValueError(f"{field} has not exactly one of {', '.join(f'`{key}`' for key in keys)}")
    for key in part.keys() - {"type", *given}:
        if part[key] is not None:
            raise ValueError(f"{field} has the key `{key}`, which is not read")
    value = part[given[0]]
    if keys[0] == "value" and "text" in keys and not isinstance(value, str):
        raise ValueError(f"{field} is a JSON {json_type(value)}, not a string")
    return value


def parse_result(value: Any, where: str) -> str:
    """What a tool gave back, as text: a string as it is, parts of text joined, any other value as JSON.

    Raises:
        ValueError: parts of it are no text.
    """
    field = f"the content of {where}"
    if isinstance(value, list) and value and all(isinstance(each, dict) and each.get("type") for each in value):
        return parse_text(value, field)
    if isinstance(value, str):
        return value
    _check_json(value, field)
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def parse_call_id(message: Mapping[str, Any], where: str) -> dict[str, str]:
    """`tool_call_id` of a result, where it has one."""
    value = message.get("tool_call_id")
    if value is None or value == "":
        return {}
    if not isinstance(value, str):
        raise ValueError(f"`tool_call_id` of {where} is a JSON {json_type(value)}, not a string")
    return {"tool_call_id": value}


def _parse_tool(value: Any, where: str) -> tuple[dict[str, Any], set[str]]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is a JSON {json_type(value)}, not an object with a `name`")
    kind, wrapped = value.get("type"), value.get("function")
    if kind not in (None, "function", "custom_function") and (wrapped is not None or "name" not in value):
        raise ValueError(f"{where} is of the type {kind!r}; only functions are read")
    wrapped = _parse_json(wrapped, f"`function` of {where}")
    if wrapped is not None and not isinstance(wrapped, dict):
        raise ValueError(f"`function` of {where} is a JSON {json_type(wrapped)}, not an object")
    function: dict[str, Any] = value if wrapped is None else wrapped
    name, description = _parse_name(function.get("name"), where), function.get("description")
    if description is not None and not isinstance(description, str):
        raise ValueError(f"`description` of {where} is a JSON {json_type(description)}, not a string")
    given = [key for key in _PARAMETERS_KEYS if function.get(key) is not None]
    if len(given) > 1:
        raise ValueError(f"{where} has `parameters` and `input_schema`; only one of them is read")
    parameters = _parse_json(function[given[0]], f"`{given[0]}` of {where}") if given else None
    if parameters is not None and not isinstance(parameters, dict):
        raise ValueError(f"`{given[0]}` of {where} is a JSON {json_type(parameters)}, not an object")
    _check_json(parameters, f"`parameters` of {where}")
    properties = (parameters or {}).get("properties")
    if isinstance(properties, dict) and None in properties.values():
        raise ValueError(
            f"`parameters` of {where} have a property that is null; in Parquet, write tools as a text of JSON"
        )
    read: dict[str, Any] = {"name": name, "description": description, "parameters": parameters}
    if function.get("strict") is not None:
        read["strict"] = _parse_flag(function["strict"], where)
    left = set(function) - {*read, *_PARAMETERS_KEYS, "type", "strict"}
    if wrapped is not None:
        left |= set(value) - {"type", "function"}
    unused = {key for key in left if function.get(key, value.get(key)) is not None}
    return {"type": "function", "function": read}, unused


def _parse_list_of_calls(value: Any, field: str) -> list[Call]:
    value = _parse_json(value, field)
    calls = value if isinstance(value, list) else [value]
    read = [_parse_call(each, field if len(calls) == 1 else f"call {number} in {field}")
            for number, each in enumerate(calls, start=1)]  # fmt: skip
    ids = [call["id"] for call in read if "id" in call]
    if len(set(ids)) < len(ids):
        raise ValueError(f"two calls in {field} have the same id")
    return read


def _parse_call(value: Any, field: str) -> Call:
    value = _parse_json(value, field)
    if not isinstance(value, dict):
        raise ValueError(f"{field} is a JSON {json_type(value)}, not an object with `name` and `arguments`")
    kind, wrapped = value.get("type"), value.get("function")
    if kind not in (None, "function", "tool_call", "function_call"):
        raise ValueError(f"{field} is of the type {kind!r}; only functions are called")
    if wrapped is not None and not isinstance(wrapped, dict | str):
        raise ValueError(f"`function` of {field} is a JSON {json_type(wrapped)}, not an object")
    if isinstance(wrapped, str) and wrapped.lstrip().startswith("{"):
        wrapped = _parse_json(wrapped, f"`function` of {field}")
    function = wrapped if isinstance(wrapped, dict) else value
    name = wrapped if isinstance(wrapped, str) else function.get("name")
    given = [key for key in _ARGUMENTS_KEYS if key in function]
    if len(given) > 1:
        raise ValueError(f"{field} has `{given[0]}` and `{given[1]}`; only one of them is read")
    known = {"name", "id", "type", "function", "index", "call_id", *_ARGUMENTS_KEYS}
    for key in {**value, **function}:
        if key not in known and {**value, **function}[key] is not None:
            raise ValueError(f"{field} has the key `{key}`, which is not read")
    call: Call = {}
    identity = value.get("id") or value.get("call_id")
    if identity is not None and identity != "":
        call["id"] = _parse_id(identity, field)
    arguments = _parse_arguments(function[given[0]] if given else None, f"`{given[0] if given else ''}` of {field}")
    return call | {"type": "function", "function": {"name": _parse_name(name, field), "arguments": arguments}}


def _parse_arguments(value: Any, field: str) -> dict[str, Any]:
    """Arguments as an object, as vLLM gives them to the template; none are an empty one."""
    if value is None or value == "":
        return {}
    arguments = _parse_json(value, field)
    if not isinstance(arguments, dict):
        raise ValueError(f"{field} is a JSON {json_type(arguments)}, not an object")
    _check_json(arguments, field)
    return arguments


def _parse_json(value: Any, field: str) -> Any:
    """A value that may be written as a text of JSON.

    Raises:
        ValueError: the text is no JSON, or holds a key twice, of which only the last would be left.
    """
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise ValueError(f"{field} is not JSON ({error.msg}, column {error.pos + 1})") from error
    except RecursionError as error:
        raise ValueError(f"{field} is JSON that is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{field} {error}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"has the key {next(key for key in keys if keys.count(key) > 1)!r} twice in one object")
    return value


def _check_json(value: Any, field: str) -> None:
    """Raises ValueError for what JSON cannot write: numbers that are none, and dates, decimals and bytes of Parquet."""
    if value is not None and not isinstance(value, bool | int | float | str | dict | list):
        raise ValueError(f"{field} holds a {type(value).__name__}, which JSON cannot write; write it as text")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{field} holds {value}, which is no number in JSON")
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_json(each, field)


def _parse_name(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field} has no `name` that is a string")
    return value


def _parse_id(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"`id` of {field} is a JSON {json_type(value)}, not a string")
    return value


def _parse_flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"`strict` of {where} is a JSON {json_type(value)}, not true or false")
    return value


def _without_id(call: Call) -> Call:
    return {key: value for key, value in call.items() if key != "id"}
