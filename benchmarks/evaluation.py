"""What the comparison itself costs: 5,000 questions to six arms of an endpoint that answers at once.

python -m benchmarks.evaluation              # about three minutes on two cores
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.results import ratio_row, row, write
from cluster.storage.runs import Run
from cluster.storage.storage import Storage

NUM_QUESTIONS, NUM_SLICES, CONCURRENCY = 5000, 10, 16
ARMS = ("base", "few_shot", "retrieval", "tuned", "tuned_retrieval", "raft")
NUM_ANSWERS = NUM_QUESTIONS * len(ARMS)
PORT = 8099


def main() -> None:
    """Measure in processes of their own, and write benchmarks/results/evaluation-<machine>.json."""
    with endpoint() as url:
        found = {part: in_process(part, url) for part in ("harness", "client")}
    ours, peer = found["harness"], found["client"]
    rows = [
        ratio_row("harness_ms_per_answer", "ms", ours["ms"], peer["ms"], "the openai package, replies thrown away"),
        row("harness_wall_ms_per_answer", "ms", ours["ms"], "<= 0.5"),
        row("harness_cpu_ms_per_answer", "ms", ours["cpu_ms"]),
        row("grading_and_statistics_s", "s", ours["conclude_s"], "<= 10"),
        row("report_s", "s", ours["report_s"]),
        row("report_mib", "MiB", ours["report_mib"]),
        row("peak_memory_gib", "GiB", ours["peak_gib"], "<= 1"),
    ]
    notes = (
        f"{NUM_QUESTIONS} questions in {NUM_SLICES} slices to {len(ARMS)} arms, {CONCURRENCY} calls in flight, every "
        "answer kept in the answer cache; three arms get three passages of 500 characters with each answer. The "
        "endpoint is a process of its own on the same two cores and its time is in the wall time. The peer sends the "
        "same requests and keeps nothing."
    )
    print(write("evaluation", rows, notes))


@contextmanager
def endpoint() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.instant_endpoint", str(PORT)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stdout.readline()
        yield f"http://127.0.0.1:{PORT}/v1"
    finally:
        process.terminate()
        process.wait(10)


def in_process(part: str, url: str) -> dict[str, float]:
    """One measurement in a fresh interpreter, whose peak of memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.evaluation", part, url], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_questions(folder: Path) -> Path:
    """Questions as a file has them; every second one names a source."""
    path = folder / "questions.jsonl"
    lines = (
        {"id": f"q{n}", "slice": f"slice-{n % NUM_SLICES}", "question": f"What is the value of thing {n}?",
         "answers": ["7"], "sources": [f"{1 + n % 4}.md"] if n % 2 else []}
        for n in range(NUM_QUESTIONS)
    )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def harness(url: str) -> dict[str, float]:
    """The whole of `evaluation`, from the questions' file to the reports."""
    from evaluation.arms import Shot, make_arms
    from evaluation.asking.answer_cache import AnswerCache
    from evaluation.asking.ask import ask_all
    from evaluation.config import EvaluationConfig
    from evaluation.measure import MeasurementContext, conclude, grade_all
    from evaluation.questions.files import load_questions
    from evaluation.reporting.report import write_reports

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = EvaluationConfig(questions=write_questions(folder), arms=ARMS, concurrency=CONCURRENCY)
        arms = make_arms(
            ARMS,
            tuned="base:demo@1",
            raft="base:raft@1",
            collection="demo",
            shots=[Shot("What is it?", "It is 7.")] * 4,
        )
        run, questions = Run.start(Storage(folder), "demo", "compare", {}), load_questions(config.questions)
        began, cpu = time.perf_counter(), time.process_time()
        with closing(AnswerCache(folder / "answers.sqlite")) as answers:
            asked = ask_all(config, url, arms, questions, print, answers, dict.fromkeys(ARMS, "1"))
        asked_s, cpu_s, began = time.perf_counter() - began, time.process_time() - cpu, time.perf_counter()
        report = conclude(
            config, arms, grade_all(config, url, arms, questions, asked, print)[0], asked, run, MeasurementContext()
        )
        conclude_s, began = time.perf_counter() - began, time.perf_counter()
        paths = write_reports(report, run.path)
        report_s = time.perf_counter() - began
        assert sum(cell.num_failed for cell in report.cells) == 0
        size = next(path.stat().st_size for path in paths if path.suffix == ".html")
    return {
        "ms": round(1e3 * asked_s / NUM_ANSWERS, 4), "cpu_ms": round(1e3 * cpu_s / NUM_ANSWERS, 4),
        "conclude_s": round(conclude_s, 2), "report_s": round(report_s, 2), "report_mib": round(size / 2**20, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
    }  # fmt: skip


def client(url: str) -> dict[str, float]:
    """The same number of calls by the `openai` package, as many in flight."""
    from openai import AsyncOpenAI

    async def ask_all() -> None:
        own, left = AsyncOpenAI(base_url=url, api_key="none", max_retries=0), iter(range(NUM_ANSWERS))

        async def work() -> None:
            for number in left:
                model = "base+demo" if number % 2 else "base"
                question = f"What is the value of thing {number}?"
                await own.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=64
                )

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        await own.close()

    began = time.perf_counter()
    asyncio.run(ask_all())
    return {"ms": round(1e3 * (time.perf_counter() - began) / NUM_ANSWERS, 4)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measured: dict[str, Any] = {"harness": harness, "client": client}[sys.argv[1]](sys.argv[2])
        print(json.dumps(measured))
    else:
        main()
