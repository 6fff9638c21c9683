"""HTTP to a Ray cluster's dashboard: its token, its certificate, and what each refusal means.

Ray's own JobSubmissionClient is not used: its calls have no timeout, RAY_ADDRESS in the environment silently takes the
place of the address it is given, and importing it takes seconds.
"""

import importlib.metadata
import os
import platform
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import httpx

from cluster.errors import TandemError

CONNECT_S = 10.0
ANSWER_S = 30.0
"""Seconds for each part of an answer to come, and for each part of an upload to go."""


class DashboardUnreachable(TandemError):
    """The cluster does not answer now; asking again may help."""


class NotFound(TandemError):
    """The cluster has no such thing."""


@dataclass(frozen=True)
class Dashboard:
    """The dashboard of one cluster, where its Jobs API is."""

    address: str
    """http(s)://host:port"""

    answer_s: float = ANSWER_S

    @cached_property
    def token(self) -> str | None:
        """As Ray finds it: RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token.

        https://docs.ray.io/en/latest/ray-security/token-auth.html
        """
        if token := os.environ.get("RAY_AUTH_TOKEN"):
            return token.strip()
        path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
        try:
            return path.read_text().strip() or None
        except OSError:
            return None

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Trusts what the machine trusts, or the file SSL_CERT_FILE."""
        return ssl.create_default_context()

    @cached_property
    def _client(self) -> httpx.Client:
        limits = httpx.Timeout(self.answer_s, connect=CONNECT_S)
        return httpx.Client(base_url=self.address, headers=self.headers, verify=self.tls, timeout=limits)

    def get(self, path: str) -> Any:
        """The JSON at a path. Raises as `call`."""
        return self.call("GET", path)

    def call(self, method: str, path: str, json: Any = None, content: bytes | None = None) -> Any:
        """The JSON that the dashboard answers; None where it answers nothing.

        Raises:
            Unreachable: it does not answer, or not now.
            NotFound: there is no such path, job or package.
            TandemError: it refuses the token, the request, or has no valid certificate.
        """
        try:
            answer = self._client.request(method, path, json=json, content=content)
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
            self.refuse(error)
        if answer.status_code != 200:
            self._refused(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise self._no_dashboard() from error

    def check_versions(self) -> None:
        """Compare the cluster's Ray and Python with those here, with which Tandem was tested.

        Raises:
            TandemError: as `call`, or another version runs there.
        """
        try:
            versions = self.get("/api/version")
            cluster = {"Ray": str(versions["ray_version"]), **self._python()}
        except (NotFound, KeyError, TypeError) as error:
            raise self._no_dashboard() from error
        here = {"Ray": importlib.metadata.version("ray"), "Python": _minor(platform.python_version())}
        for what, version in cluster.items():
            if version != here[what]:
                raise TandemError(
                    f"The cluster at {self.address} runs {what} {version}, and this machine {here[what]}.",
                    f"The same version of {what} on both: what is sent was made for this one.",
                    "Use an image of this version of Tandem for the cluster, or install the cluster's version here.",
                )

    def refuse(self, error: Exception) -> NoReturn:
        """Say what a connection that failed means."""
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            raise TandemError(
                f"The certificate of {self.address} is not accepted: {_reason(reason)}.",
                "A certificate that is valid today, for this name, signed by an authority that this machine trusts.",
                "Renew it on the cluster; for an authority of your own set SSL_CERT_FILE to its certificate.",
            ) from error
        raise DashboardUnreachable(
            f"No Ray cluster answers at {self.address} ({reason.rstrip('.')}).",
            "The address of the dashboard on the head node, such as http://head:8265.",
            "Check `cluster.address`, and that this machine reaches it: "
            "`kubectl port-forward service/NAME-head-svc 8265`.",
        ) from error

    def _python(self) -> Mapping[str, str]:
        """Where the cluster says it: an address of its own, which is not part of the documented API."""
        try:
            return {"Python": _minor(self.get("/api/v0/cluster_metadata")["data"]["pythonVersion"])}
        except NotFound:
            return {}

    def _refused(self, answer: httpx.Response) -> NoReturn:
        status, lines = answer.status_code, answer.text.strip().splitlines()
        if status in (401, 403):
            raise TandemError(
                f"The cluster at {self.address} "
                + ("does not know the token that was sent." if self.token else "asks for a token, and none was sent."),
                "The token that the cluster was started with (on Kubernetes: key auth_token of its Secret).",
                "Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file with it.",
            )
        reason = lines[-1] if lines else "no reason given"
        if status == 404:
            raise NotFound(
                f"{self.address} answered 404: {reason}.", "A path of Ray's dashboard.", "Check the address."
            )
        if status >= 500 or status == 429:
            raise DashboardUnreachable(
                f"The cluster at {self.address} cannot answer now ({status}: {reason}).",
                "A dashboard that reaches the nodes.",
                "Try again; look into dashboard.log on the head node where it goes on.",
            )
        raise TandemError(
            f"The cluster at {self.address} refused the request ({status}: {reason}).",
            "What Ray's Jobs API of the same version takes.",
            "Correct what it names.",
        )

    def _no_dashboard(self) -> TandemError:
        return TandemError(
            f"What answers at {self.address} is no Ray dashboard.",
            "The dashboard on the head node, such as http://head:8265.",
            "Set `cluster.address`; the ports of Ray Serve (8000) and Ray Client (10001) are others.",
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _reason(text: str) -> str:
    """What OpenSSL says of a certificate, as in `certificate has expired`."""
    return text.partition("verify failed: ")[2].partition(" (_ssl.c")[0] or text
