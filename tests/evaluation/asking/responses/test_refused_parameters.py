# ruff: noqa: E501
"""Errors of many servers: which parameter each refuses, and which refuse none."""

import json
from typing import Any

import pytest

from evaluation.asking.responses.endpoint_errors import read_error
from evaluation.asking.responses.refused_parameters import find_refused_parameters

SENT = ("model", "messages", "temperature", "max_tokens", "logprobs", "top_logprobs", "seed", "stop")
NEW_NAME = {"max_tokens": "max_completion_tokens"}
LOGPROBS: dict[str, str | None] = {"logprobs": None, "top_logprobs": None}


def find(status: int, body: Any, sent: tuple[str, ...] = SENT) -> dict[str, str | None]:
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return find_refused_parameters(read_error(status, content), sent)


def openai(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


USE_INSTEAD = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
REFUSED: list[tuple[int, Any, dict[str, str | None]]] = [
    (400, openai(USE_INSTEAD, "max_tokens", "unsupported_parameter"), {**NEW_NAME}),
    (400, openai(USE_INSTEAD), {**NEW_NAME}),
    (
        400,
        openai(
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
            "temperature",
            "unsupported_value",
        ),
        {"temperature": None},
    ),
    (
        400,
        openai(
            "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) value is supported."
        ),
        {"temperature": None},
    ),
    (400, openai("Unrecognized request argument supplied: seed"), {"seed": None}),
    (
        400,
        openai("Unrecognized request arguments supplied: seed, logprobs"),
        {"seed": None, "logprobs": None, "top_logprobs": None},
    ),
    (400, openai("Unknown parameter: 'stop'.", "stop", "unknown_parameter"), {"stop": None}),
    (403, openai("You are not allowed to request logprobs from this model."), LOGPROBS),
    (400, openai("logprobs are not supported with reasoning models."), LOGPROBS),
    (400, openai("This model does not support logprobs."), LOGPROBS),
    (
        400,
        {"error": "Argument not supported on this model: logprobs", "code": "Client specified an invalid argument"},
        LOGPROBS,
    ),
    (400, {"error": "Model grok-4 does not support parameter stop."}, {"stop": None}),
    (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.',
                    "status": "INVALID_ARGUMENT",
                }
            }
        ],
        {"seed": None},
    ),
    (
        422,
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "seed"],
                    "msg": "Extra inputs are not permitted",
                    "input": 1,
                }
            ]
        },
        {"seed": None},
    ),
    (
        422,
        {"detail": [{"loc": ["body", "max_tokens"], "msg": "extra fields not permitted", "type": "value_error.extra"}]},
        {**NEW_NAME},
    ),
    (
        422,
        {
            "object": "error",
            "message": {
                "detail": [
                    {
                        "type": "extra_forbidden",
                        "loc": ["body", "logprobs"],
                        "msg": "Extra inputs are not permitted",
                        "input": True,
                    }
                ]
            },
            "type": "invalid_request_error",
        },
        LOGPROBS,
    ),
    (
        400,
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'stop'), 'msg': 'Extra inputs are not permitted', 'input': 'x'}]",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        {"stop": None},
    ),
    (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "seed: Extra inputs are not permitted"},
        },
        {"seed": None},
    ),
    (
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."},
        },
        {"temperature": None},
    ),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "`temperature` may only be set to 1 when thinking is enabled.",
            },
        },
        {"temperature": None},
    ),
    (400, openai("invalid temperature: only 1 is allowed for this model"), {"temperature": None}),
    (400, openai("property 'logprobs' is unsupported"), LOGPROBS),
    (400, 'json: unknown field "seed"', {"seed": None}),
    (
        422,
        "Failed to deserialize the JSON body into the target type: unknown field `seed`, expected one of `messages`, `model`, `max_tokens`, `temperature`, `stop` at line 1 column 20",
        {"seed": None},
    ),
    (
        400,
        'Unrecognized field "seed" (class X), not marked as ignorable (12 known properties: "max_tokens", "temperature")',
        {"seed": None},
    ),
    (500, "TypeError: create() got an unexpected keyword argument 'seed'", {"seed": None}),
    (400, {"seed": ["Unknown field."]}, {"seed": None}),
    (400, "Additional properties are not allowed ('logprobs', 'top_logprobs' were unexpected)", LOGPROBS),
    (
        400,
        {
            "message": ["property seed should not exist", "property stop should not exist"],
            "error": "Bad Request",
            "statusCode": 400,
        },
        {"seed": None, "stop": None},
    ),
    (
        400,
        {
            "message": "Malformed input request: #: extraneous key [max_tokens] is not permitted, please reformat your input and try again."
        },
        {**NEW_NAME},
    ),
    (
        400,
        openai(
            "litellm.UnsupportedParamsError: openai does not support parameters: ['logprobs', 'top_logprobs'], for model=x"
        ),
        LOGPROBS,
    ),
    (
        400,
        openai(
            "litellm.UnsupportedParamsError: gpt-5 models (including gpt-5-codex) don't support temperature=0.0. Only temperature=1 is supported. To drop unsupported params set `litellm.drop_params = True`"
        ),
        {"temperature": None},
    ),
    (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": json.dumps(openai(USE_INSTEAD, "max_tokens", "unsupported_parameter"))},
            }
        },
        {**NEW_NAME},
    ),
    (
        400,
        {
            "issues": [
                {
                    "code": "unrecognized_keys",
                    "keys": ["seed"],
                    "path": [],
                    "message": "Unrecognized key(s) in object: 'seed'",
                }
            ]
        },
        {"seed": None},
    ),
    (
        400,
        [
            {
                "keyword": "additionalProperties",
                "params": {"additionalProperty": "seed"},
                "message": "must NOT have additional properties",
            }
        ],
        {"seed": None},
    ),
    (400, "invalid request: unknown field: parameter 'seed' is not a valid field", {"seed": None}),
    (400, openai("max_tokens is not supported, please use max_completion_tokens"), {**NEW_NAME}),
    (
        400,
        openai("The parameters temperature and seed are not supported by this model."),
        {"temperature": None, "seed": None},
    ),
    (400, openai("`stop` is not available for this model"), {"stop": None}),
    (400, "Parameter maxTokens is not supported", {**NEW_NAME}),
    (400, openai("'temperature' is not supported. 'seed' is fine."), {"temperature": None}),
    (400, openai("Setting temperature is not permitted"), {"temperature": None}),
    (400, openai("The model `o1` does not accept a custom temperature"), {"temperature": None}),
    (400, openai("parameter temperature: unsupported"), {"temperature": None}),
    (400, openai("Invalid parameter(s): temperature is not a valid parameter"), {"temperature": None}),
]
BAD_VALUES = [
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4936 in the messages, 64 in the completion).",
    "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you provided 100000.",
    "Invalid 'max_tokens': integer below minimum value. Expected a value >= 16, but got 1 instead.",
    "'temperature' must be less than or equal to 1",
    "temperature above 1 is not supported",
    "temperature must be 1 or less",
    "`temperature` and `top_p` cannot both be specified for this model.",
    "`temperature` and `top_p` cannot be used together",
    "The model `gpt-9` is not supported",
    "Bad request",
    "This model does not support images. max_tokens was 64",
    "messages[0].role 'system' is not supported with this model",
    "Invalid request: check temperature, max_tokens and seed.",
    "max_tokens 90000 is not supported by this model",
    "max_tokens must be at most 4096",
    "Unsupported value for max_tokens: 64",
    "tool 'temperature_of_city' is not supported",
    "Unsupported content: stop using this",
    "The parameter `tools` is not supported; you sent model, messages, temperature, max_tokens.",
    "top_logprobs must be at most 5",
    "Unsupported model. Supported parameters: temperature, seed",
    "the model does not support a temperature above 1",
    "This request is not supported: please stop.",
]


@pytest.mark.parametrize(("status", "body", "refused"), REFUSED)
def test_the_refused_parameter_is_found(status: int, body: Any, refused: dict[str, str | None]) -> None:
    assert find(status, body) == refused


@pytest.mark.parametrize("message", BAD_VALUES)
def test_an_error_about_something_else_refuses_none(message: str) -> None:
    assert find(400, openai(message)) == {}


def test_a_field_about_a_value_refuses_none() -> None:
    too_large = {"type": "less_than_equal", "loc": ["body", "temperature"], "msg": "Input should be at most 1"}
    inside = {
        "type": "extra_forbidden",
        "loc": ["body", "messages", 0, "seed"],
        "msg": "Extra inputs are not permitted",
    }
    for detail in (too_large, inside):
        assert find(422, {"detail": [detail]}) == {}
    assert find(400, openai("Invalid value", "max_tokens", "invalid_value")) == {}
    assert find(400, openai("Unsupported value", "max_tokens", "unsupported_value")) == {}


def test_only_what_was_sent_and_can_be_left_out_is_found() -> None:
    assert find(400, openai("Unsupported parameter: 'model'")) == {}
    assert find(400, openai("Unsupported parameter: 'seed'"), ("model", "messages")) == {}
    assert find(429, openai("Unsupported parameter: 'seed'")) == {}
    sent = ("model", "max_completion_tokens")
    assert find(400, openai("Unsupported parameter: 'max_completion_tokens'"), sent) == {"max_completion_tokens": None}


def test_a_hostile_error_is_searched_in_a_moment() -> None:
    assert find(400, "unsupported " + "temperature and " * 50_000) == {"temperature": None}
    assert find(400, "temperature" + " '" * 100_000 + "!") == {}
    assert find(400, "[" * 5_000) == {}
