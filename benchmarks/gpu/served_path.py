"""The steps of `benchmarks.gpu_run` that serve: starts, load with and without adapters, and what must stay right."""

import json
import re
import shutil
import statistics
import threading
from pathlib import Path
from typing import Any

from benchmarks.gpu.site import ADAPTER, Server, Site, ask_many, free_port, plain_vllm, random_prompts
from benchmarks.gpu.steps import Figure, Note, Reports, StepFailed
from benchmarks.gpu.whole_path import small_model
from cluster.hardware import read_hardware
from cluster.registry.registry import Registry
from cluster.registry.transfer import MANIFEST

NUM_TOKENS_IN = 128
MAX_NUM_SEQS = 256
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 8}, "size": {"enum": ["small", "large"]}},
    "required": ["city", "size"], "additionalProperties": False,
}  # fmt: skip


def serve(site: Site) -> Reports:
    """B2: the endpoint cold and warm, load by number of clients, adapters in a batch, and vLLM alone beside it."""
    model = small_model(site)
    adapters = publish_copies(site, 4 if site.is_tiny else 32)
    project = serving_project(site, model, len(adapters))
    yield Figure("endpoint ready, cold caches", "s", site.serve(project))
    if not site.is_tiny:
        yield Figure("endpoint ready, warm caches", "s", site.serve(project), "<= 60")
    server = site.server
    assert server
    ask(site, server, ["base"], 1)  # not counted
    ask(site, server, [f"base:{name}" for name in adapters], len(adapters))
    ours: dict[int, float] = {}
    for clients in (1, 4) if site.is_tiny else (1, 16, 64, 256):
        base = ask(site, server, ["base"], clients)
        mixed = ask(site, server, [f"base:{name}" for name in adapters[:clients]], clients)
        ours[clients] = base["ttft_p50_s"]
        for name, found in (("base", base), (f"{min(clients, len(adapters))} adapters", mixed)):
            for metric in ("ttft_p50_s", "ttft_p95_s"):
                yield Figure(f"{metric}: {name}, {clients} clients", "s", found[metric])
            yield Figure(f"output: {name}, {clients} clients", "tokens/s", found["tokens_per_s"])
        if clients >= len(adapters):
            target = None if site.is_tiny else ">= 0.8"
            yield Figure(
                f"output with {len(adapters)} adapters in a batch, {clients} clients", "tokens/s",
                mixed["tokens_per_s"], target, base["tokens_per_s"], "base",
            )  # fmt: skip
    yield from _base_beside_adapters(server, adapters[:4], None if site.on_cpu else "<= 0.02")
    yield from _plain(site, project, model, ours[1])
    yield Figure("endpoint ready again", "s", site.serve(project))


def change_adapters(site: Site) -> Reports:
    """B3: adapters come and go under load; a sampled answer and one that keeps to a schema."""
    number = 4 if site.is_tiny else 32
    names = publish_copies(site, number + 4)
    if site.server is None:
        site.serve(serving_project(site, small_model(site), number))
    server = site.server
    assert server
    failures: list[str] = []

    def load_base() -> None:
        try:
            ask(site, server, ["base"], 2 if site.is_tiny else 16)
        except StepFailed as error:
            failures.append(str(error))

    thread = threading.Thread(target=load_base)
    thread.start()
    # One replica keeps fewer adapters than there are, so that each one asked for displaces another.
    first_uses = [ask(site, server, [f"base:{name}"], 1, number=1)["ttft_p50_s"] for name in names]
    thread.join()
    if failures:
        raise StepFailed(f"requests to the base failed while adapters changed: {failures[0]}")
    yield Figure("first token of an adapter that is loaded for it", "s", statistics.median(first_uses))
    sampled = _complete(server, {"temperature": 0.9, "top_p": 0.9, "top_k": 50, "seed": 1, "max_tokens": 16})
    if not sampled["choices"][0]["message"]["content"]:
        raise StepFailed("a sampled answer is empty")
    formed = _complete(server, {
        "max_tokens": 64, "temperature": 0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
    })["choices"][0]["message"]["content"]  # fmt: skip
    if set(json.loads(formed)) != {"city", "size"}:
        raise StepFailed(f"the answer does not keep to the schema: {formed}")
    yield Note(f"an answer that keeps to a schema: {formed}")


def serving_project(site: Site, model: Path, num_adapters: int) -> Path:
    """The project whose endpoint is loaded."""
    serving: dict[str, Any] = {
        "port": free_port(), "max_model_len": 512 if site.is_tiny else 2048, "max_loras": min(32, num_adapters),
        "max_loaded_adapters": max(2, num_adapters), "max_lora_rank": 16, "max_num_seqs": MAX_NUM_SEQS,
        "max_ongoing_requests": 2 * MAX_NUM_SEQS, "max_queued_requests": 2 * MAX_NUM_SEQS,
    }  # fmt: skip
    return site.write_project("serve", model, serving=serving)


def publish_copies(site: Site, number: int) -> list[str]:
    """Adapters like the trained one under names of their own, live."""
    registry = Registry(site.storage / "adapters")
    if ADAPTER not in registry.names():
        raise StepFailed("no adapter is published: the step B1 has to pass first")
    trained = registry.resolve(ADAPTER)
    fields = trained.manifest.model_dump(include={
        "base_model", "base_digest", "method", "kind", "rank", "template_hash", "prompt_hash", "data_digest", "metrics",
    })  # fmt: skip
    names = [f"copy-{place}" for place in range(number)]
    files = site.scratch / "copied-adapter"
    shutil.copytree(trained.path, files, ignore=shutil.ignore_patterns(MANIFEST), dirs_exist_ok=True)
    for name in names:
        if name not in registry.names():
            registry.publish(name, files, fingerprint=f"{trained.manifest.fingerprint}-{name}", **fields)
    return names


def ask(site: Site, server: Server, models: list[str], clients: int, number: int | None = None) -> dict[str, float]:
    """Load by `clients` altogether, shared out over the models; figures over all of them."""
    num_tokens = 8 if site.is_tiny else 128
    each = max(1, clients // len(models))
    per_model = number or each * (2 if site.is_tiny else 4)
    asked = [
        {"url": server.url, "model": model, "key": None, "concurrency": each, "num_tokens": num_tokens}
        for model in models
    ]
    prompts = [random_prompts(per_model, NUM_TOKENS_IN, seed=place) for place in range(len(models))]
    seconds, loads = ask_many(asked, prompts)
    firsts = sorted(value for load in loads for value in load.first_token_s)
    return {
        "tokens_per_s": num_tokens * len(firsts) / seconds,
        "ttft_p50_s": statistics.median(firsts),
        "ttft_p95_s": firsts[min(len(firsts) - 1, round(0.95 * len(firsts)))],
    }


def _base_beside_adapters(server: Server, adapters: list[str], target: str | None) -> Reports:
    """The base's log-probabilities of a prompt alone, and in a batch with adapters."""
    alone = _prompt_logprobs(server, "base")
    found: dict[str, list[float]] = {}
    names = ["base", *(f"base:{name}" for name in adapters)]

    def ask_one(name: str) -> None:
        found[name] = _prompt_logprobs(server, name)

    threads = [threading.Thread(target=ask_one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) < len(names):
        raise StepFailed("a request failed in a batch with adapters")
    yield Figure("base in a batch with adapters, from the base alone", "nats per token", _apart(alone, found["base"]),
                 target or "<= 0.001")  # fmt: skip
    yield Figure("an adapter from the base", "nats per token", _apart(alone, found[names[1]]))
    if not _apart(alone, found[names[1]]) > 0:
        raise StepFailed("an adapter answers as the base does: it was not used")


def _plain(site: Site, project: Path, model: Path, ours: float) -> Reports:
    """The first token beside vLLM's own server with the same engine arguments, and what its log says of the engine."""
    site.stop_serving()
    with plain_vllm(site, project, model, _engine_arguments(project)) as server:
        ask(site, server, ["base"], 1)
        plain = ask(site, server, ["base"], 1)["ttft_p50_s"]
        log = server.log.read_text(errors="replace")
    target = None if site.on_cpu else "<= 0.005"
    yield Figure("first token later than from plain vLLM, 1 client", "s", ours - plain, target)
    cache = re.search(r"KV cache size: ([\d,]+) tokens", log)
    if cache:
        yield Figure("key-value cache", "tokens", float(cache[1].replace(",", "")))
    yield Note(f"Model Runner V2: {'yes' if 'Using V2 Model Runner' in log else 'not named in the log'}")
    captured = "Graph capturing finished" in log
    yield Note(f"CUDA graphs: {'captured' if captured else 'none'}")
    if not site.on_cpu and not captured:
        raise StepFailed("the engine captured no CUDA graphs")
    if not site.on_cpu and "Using V2 Model Runner" not in log:
        raise StepFailed("the engine does not run on Model Runner V2, which is what was read for this version")


def _engine_arguments(project: Path) -> dict[str, Any]:
    """Our engine's arguments for this machine, without those that are no command line's."""
    from serving.config import ServingConfig
    from serving.engine.engine_args import engine_kwargs

    config = ServingConfig.model_validate(json.loads(project.read_text())["serving"])
    arguments = engine_kwargs(config, read_hardware(), config.max_model_len)
    return {name: value for name, value in arguments.items() if name != "worker_extension_cls"}


def _prompt_logprobs(server: Server, model: str) -> list[float]:
    """The log-probabilities of a fixed prompt's tokens."""
    body = {"model": model, "prompt": random_prompts(1, 200, seed=7)[0], "max_tokens": 1, "temperature": 0,
            "prompt_logprobs": 0}  # fmt: skip
    places = _post(server, "completions", body)["choices"][0]["prompt_logprobs"]
    return [float(next(iter(place.values()))["logprob"]) for place in places if place]


def _complete(server: Server, more: dict[str, Any]) -> Any:
    messages = [{"role": "user", "content": "Name a city and its size."}]
    return _post(server, "chat/completions", {"model": "base", "messages": messages, **more})


def _post(server: Server, path: str, body: dict[str, Any]) -> Any:
    import httpx

    answer = httpx.post(f"{server.url}/{path}", json=body, timeout=120)
    if answer.status_code != 200:
        raise StepFailed(f"{path} answered {answer.status_code}: {answer.text[:300]}")
    return answer.json()


def _apart(one: list[float], other: list[float]) -> float:
    return statistics.fmean(abs(a - b) for a, b in zip(one, other, strict=True))
