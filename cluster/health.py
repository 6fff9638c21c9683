"""`python -m cluster.health`: an image's health check. Exit 0 where the endpoint of this container answers.

    python -m cluster.health [URL]      default: http://127.0.0.1:8000/-/healthz

A container that serves nothing refuses the connection, and is well: whether it does its work its own command knows.
"""

import sys
import urllib.error
import urllib.request

URL = "http://127.0.0.1:8000/-/healthz"
TIMEOUT_S = 4.0


def is_well(url: str = URL) -> bool:
    """Whether nothing listens at `url`, or what listens answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False
    except urllib.error.URLError as error:
        return isinstance(error.reason, ConnectionRefusedError)
    except (TimeoutError, ConnectionError):
        return False


if __name__ == "__main__":
    sys.exit(0 if is_well(*sys.argv[1:2]) else 1)
