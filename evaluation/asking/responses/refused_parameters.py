"""Which parameters of a request an endpoint refuses, read from its error; nothing where the error does not say so.

refused = find_refused_parameters(error, sent)      # {"max_tokens": "max_completion_tokens", "temperature": None}

Read are the fields of OpenAI's and pydantic's errors and the usual sentences of servers. What is refused is the
parameter itself, or every value but the endpoint's own: an error about too large a value is none of these.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from evaluation.asking.responses.endpoint_errors import EndpointError

LEFT_OUT = frozenset({
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "logprobs", "top_logprobs",
    "stream_options",
})  # fmt: skip
"""Parameters that may be left out. Without the others the request would be another one."""

STATUSES = (400, 403, 404, 406, 415, 422, 500, 501)
"""Some servers call a parameter that they do not know an error of their own."""

MAX_CHARACTERS = 2000
"""Of a text that is searched for sentences."""

INSTEAD = "max_completion_tokens"
_PARAMETER_CODES = frozenset({
    "unsupported_parameter", "unknown_parameter", "unrecognized_parameter", "parameter_not_supported",
    "unsupported_param", "unknown_field", "extra_forbidden", "value_error.extra", "unsupportedparamserror",
})  # fmt: skip
_VALUE_CODES = frozenset({"unsupported_value"})
_FORBIDDEN = re.compile(
    r"extra (?:inputs|fields) (?:are )?not permitted|(?:unknown|unexpected|unrecogni[sz]ed) "
    r"(?:field|parameter|argument)|unsupported|not (?:supported|allowed|permitted)|should not exist",
    re.IGNORECASE,
)
_DEFAULT_ONLY = re.compile(r"\bonly (?:the )?(?:default|1(?:\.0)?)\b", re.IGNORECASE)
_USE_INSTEAD = re.compile(
    r"\b(?:use|using|try|replaced (?:by|with)|renamed to|in favou?r of|did you mean)\s+(?:the\s+)?(?:parameter\s+)?"
    r"[\\'\"`‘“]*(max_\w*tokens)\b",
    re.IGNORECASE,
)


def find_refused_parameters(error: EndpointError, sent: Iterable[str]) -> dict[str, str | None]:
    """The refused ones of the parameters that were sent, each with the name that takes its place, or None."""
    if error.status not in STATUSES:
        return {}
    names = sorted(LEFT_OUT & set(sent))
    refused = [name for name in names if _is_refused(name, error, names)]
    if "logprobs" in refused and "top_logprobs" in names:
        refused.append("top_logprobs")  # which is nothing without the other
    return {name: _instead(name, error, sent) for name in dict.fromkeys(refused)}


def _is_refused(name: str, error: EndpointError, names: Iterable[str]) -> bool:
    if name in set(_named_in_fields(error)):
        return True
    texts = (" ".join(text[:MAX_CHARACTERS].split()) for text in error.texts)
    return any(pattern.search(text) for text in texts for pattern in _sentences(name, tuple(names)))


def _instead(name: str, error: EndpointError, sent: Iterable[str]) -> str | None:
    """Its other name. A limit of tokens that has none in the error is tried under OpenAI's newer name."""
    if "tokens" not in name:
        return None
    named = (match[1] for text in error.texts if (match := _USE_INSTEAD.search(text)) and match[1] != name)
    return next(named, INSTEAD if name == "max_tokens" and INSTEAD not in sent else None)


def _named_in_fields(error: EndpointError) -> Iterator[str]:
    """Parameters that a field of the error names, beside a code that says what is wrong with them."""
    for record in error.records:
        codes = {str(record.get(field)).casefold() for field in ("code", "type", "keyword")}
        words = " ".join(value for value in record.values() if isinstance(value, str))
        param = record.get("param")
        if isinstance(param, str) and (codes & _PARAMETER_CODES or _is_other_value(param, codes, words)):
            yield param
        if codes & _PARAMETER_CODES or _FORBIDDEN.search(str(record.get("msg", ""))):
            yield from _location(record.get("loc"))
        if "unrecognized_keys" in codes and isinstance(record.get("keys"), list):
            yield from (key for key in record["keys"] if isinstance(key, str))
        if isinstance(record.get("additionalProperty"), str):
            yield record["additionalProperty"]
        yield from _with_reasons(record)


def _is_other_value(name: str, codes: set[str], words: str) -> bool:
    """Without a limit of tokens the answers are longer: it goes only where no limit at all is accepted."""
    return bool(codes & _VALUE_CODES) and ("tokens" not in name or _DEFAULT_ONLY.search(words) is not None)


def _location(location: Any) -> Iterator[str]:
    """The parameter at pydantic's `loc`, where it is one of the request itself."""
    path = [part for part in location if part not in ("body", "request")] if isinstance(location, list | tuple) else []
    if len(path) == 1 and isinstance(path[0], str):
        yield path[0]


def _with_reasons(record: Mapping[str, Any]) -> Iterator[str]:
    """`{"seed": ["Unknown field."]}`."""
    for name in LEFT_OUT & record.keys():
        reasons = record[name] if isinstance(record[name], list) else [record[name]]
        if any(isinstance(reason, str) and _FORBIDDEN.search(reason) for reason in reasons):
            yield name


_QUOTES = r"[\s\\'\"`‘’“”\[\](){}:=,]"
_ASKED = (
    r"request|keyword|body|api|input|query|model|optional|sampling|arguments?|param(?:eter)?s?|fields?|keys?|"
    r"propert(?:y|ies)|names?|options?|attributes?|supplied|in|object|s"
)
_BETWEEN = (
    r"parameters?|arguments?|fields?|propert(?:y|ies)|options?|is|are|was|were|has|have|been|for|this|request|currently"
)
_VALUES = r"|values?|of|other|than|\d+(?:\.\d+)?"
_NOT_TAKEN = (
    r"(?:not|n't|no longer|never)\s+(?:be\s+|yet\s+|currently\s+|one\s+of\s+the\s+|an?\s+)*(?:supported|permitted|"
    r"allowed|accepted|recogni[sz]ed|available|valid\s+(?:field|parameter|argument|property|option))"
    r"(?!\s+(?:together|simultaneously|at\s+the\s+same))"
)
_BEYOND = r"(?!\s*(?:values?\s+)?(?:above|below|greater|less|larger|smaller|over|under|[<>]))"


@lru_cache(maxsize=256)
def _sentences(name: str, names: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Sentences that say that a parameter is refused; beside it they may name others of the request."""
    this = rf"(?<![\w-])(?:{name}|{_camel(name)})(?![\w-])"
    others = "|".join(dict.fromkeys(each for other in names for each in (other, _camel(other))))
    values = "" if "tokens" in name else _VALUES  # "max_tokens 90000 is not supported" is about this number

    def between(words: str = "") -> str:
        return rf"(?:{_QUOTES}|\b(?:{others}|and|or{f'|{words}' if words else ''})\b)*"

    patterns = (
        # Unsupported parameter: 'seed'; Unknown name "seed"; an unexpected argument 'seed'; extraneous key [seed]
        rf"\b(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extraneous|unpermitted){between(_ASKED)}{this}{_BEYOND}",
        # 'seed' is not supported with this model; property 'seed' should not exist; seed: Extra inputs ...
        rf"{this}{between(_BETWEEN + values)}\b(?:{_NOT_TAKEN}|unsupported|deprecated|unrecogni[sz]ed|unexpected|"
        r"extra (?:inputs|fields) (?:are )?not permitted|should not exist|unknown (?:field|parameter|argument)|"
        r"can(?: ?not|'t) be (?:used|set|specified|changed)\b(?!\s+(?:to|above|below|together|both)))",
        # does not support parameters: ['seed']; not allowed to request seed
        r"\b(?:(?:does|do|did)(?:\s+not|n't)\s+(?:support|accept|allow|recogni[sz]e)|not\s+allowed\s+to\s+(?:request|use|"
        r"set)|can(?:\s?not|'t)\s+(?:use|set|specify|request))\b"
        rf"{between('the|an?|this|setting|use|of|custom|returning|' + _BETWEEN)}{this}{_BEYOND}",
        # Argument not supported on this model: seed
        rf"\b(?:{_NOT_TAKEN}|unsupported)[^.;:\n]{{0,50}}:{between()}{this}\s*(?:$|[.,;'\"`\])}}])",
        *(_about_values(this, between()) if "tokens" not in name else ()),
    )
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns)


def _about_values(this: str, between: str) -> tuple[str, ...]:
    """Sentences that say that only the endpoint's own value is accepted."""
    return (
        # temperature may only be set to 1
        rf"{this}{between}(?:may|can|must|should)\s+(?:only\s+)?be\s+(?:set\s+to\s+)?(?:the\s+default|1(?:\.0)?\b"
        r"(?!\s*(?:or|and|to|-|\.\d)))",
        # invalid temperature: only 1 is allowed for this model
        rf"{this}[^.;\n]{{0,40}}{_DEFAULT_ONLY.pattern}[^.;\n]{{0,30}}\b(?:allowed|supported|accepted|permitted)",
        # Unsupported value: 'temperature' does not support 0 with this model.
        rf"\bunsupported\s+values?\s*(?:for|of)?{_QUOTES}*{this}",
        rf"{this}{between}(?:does|do)(?:\s+not|n't)\s+support\s+(?:\d|this\s+value|other\s+values|custom)",
    )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
