"""report.html: one page that loads nothing, with the answer first, then the numbers, then every question.

The first questions stand in the page as they are. The others wait in it as data and become part of it as they are
scrolled to or filtered for: 5,000 questions with the answers of six arms stay quick. Without script the first show.

Everything that comes from questions, answers and documents is escaped; on top of that the page's policy names its one
script and one style sheet by their digests, so that nothing else runs even where an escape was forgotten.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from evaluation.questions.question import OVERALL
from evaluation.reporting import plots, wording
from evaluation.reporting.answers import Questions
from evaluation.reporting.earlier import EarlierRun
from evaluation.reporting.sections import make_sections
from evaluation.results import Report

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render_page(report: Report, earlier: Sequence[EarlierRun] = ()) -> str:
    """The whole page as text; `earlier` are the runs to show beside this one."""
    environment = _environment()
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    questions = Questions(report, environment.get_template("question.html.j2"))
    return environment.get_template("report.html.j2").render(
        report=report,
        recommendation=report.recommendation,
        overall=OVERALL,
        order={arm.name: index for index, arm in enumerate(report.arms)},
        sections=make_sections(report, earlier),
        questions=questions,
        data=_inside_a_script(questions.data()),
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; base-uri 'none'; "
        "form-action 'none'",
    )


def with_code(words: str) -> Markup:
    """Our own sentences: what stands between backticks is set as code, everything is escaped."""
    parts = re.split(r"`([^`]+)`", words)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(_unbroken(part))
        for number, part in enumerate(parts)
    )


def _unbroken(words: str) -> str:
    """A number stays on one line with its unit."""
    return re.sub(r"(?<=\d) (?=%|points?\b)", "\u00a0", words)


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "documents_counted": wording.documents_counted,
        "code": with_code,
        "percent": wording.format_percent,
        "bounds": wording.format_bounds,
        "css_class": lambda mark: mark.replace(" ", "-"),
        "seconds": wording.format_seconds,
        "interval": wording.format_interval,
    }
    environment.globals |= {"dot": plots.dot, "colour": plots.colour, "shapes": plots.shapes}
    return environment


def _digest(text: str) -> str:
    """A source of a Content-Security-Policy: the digest of what stands between the tags."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _inside_a_script(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
