"""`tandem demo`: the whole comparison on the documents, rows and questions of examples/quickstart."""

from pathlib import Path

from cluster.errors import TandemError
from tandem.commands.compare import print_comparison
from tandem.commands.options import AsJson
from tandem.console import Console

QUICKSTART = Path(__file__).resolve().parents[3] / "examples" / "quickstart" / "tandem.yaml"


def demo(as_json: AsJson = False) -> None:
    """Measure base, tuned, retrieval and both on examples/quickstart."""
    if not QUICKSTART.is_file():
        raise TandemError(
            f"The quickstart is not at {QUICKSTART}.",
            "A checkout of the repository, where examples/quickstart stands.",
            "Clone the repository and run `make demo` there, or `tandem compare` on a project of your own.",
        )
    print_comparison(QUICKSTART, Console(as_json), spend_all=True)
