"""The jobs of a Ray cluster: submit, list, look at, stop. Its REST API is that of `ray job`.

https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.jobs.dashboard import Dashboard, DashboardUnreachable, NotFound
from cluster.jobs.wheel import Wheel

END_STATES = ("SUCCEEDED", "FAILED", "STOPPED")
OURS = "tandem"
"""The key in a job's metadata that says that it was submitted by us, and by which version."""

_INTERRUPTED = 130
_FAULT = 1


@dataclass(frozen=True)
class Submission:
    """What is asked of a cluster."""

    id: str
    entrypoint: str
    metadata: Mapping[str, str]
    env_vars: Mapping[str, str] = field(default_factory=dict)
    num_cpus: float = 0
    """CPUs for the driver alone; with 0 it runs on the head node."""


@dataclass(frozen=True)
class Job:
    """A job as the cluster tells it."""

    id: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""

    entrypoint: str
    message: str
    metadata: Mapping[str, str]
    started: datetime | None
    ended: datetime | None
    driver_exit_code: int | None
    is_submitted: bool
    """Not so for a script that joined the cluster by itself: it has no log here and cannot be stopped."""

    @property
    def has_ended(self) -> bool:
        return self.status in END_STATES

    @property
    def is_ours(self) -> bool:
        return OURS in self.metadata

    @property
    def exit_code(self) -> int | None:
        """What the command would have ended with here: the driver's own code; 130 where it was stopped."""
        if self.status == "STOPPED":
            return _INTERRUPTED
        if self.status != "FAILED":
            return 0 if self.has_ended else None
        code = self.driver_exit_code or _FAULT
        return code if code > 0 else 128 - code


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, dashboard: Dashboard) -> None:
        self.dashboard = dashboard

    def submit(self, submission: Submission, package: Path, wheel: Wheel) -> str:
        """Upload what is not there yet and start the job; its id.

        Args:
            package: a zip that becomes the job's working directory.

        Raises:
            TandemError: as Dashboard.call.
        """
        content = package.read_bytes()
        # The names that Ray itself gives: it unpacks by suffix, and a wheel's name is part of what pip installs.
        working_dir = self._upload(f"_ray_pkg_{hashlib.sha1(content).hexdigest()}.zip", content)
        code = self._upload(wheel.name, wheel.content)
        request = {
            "entrypoint": submission.entrypoint, "submission_id": submission.id, "metadata": dict(submission.metadata),
            "runtime_env": runtime_env(working_dir, code, submission.env_vars),
            "entrypoint_num_cpus": submission.num_cpus,
        }  # fmt: skip
        try:
            self.dashboard.call("POST", "/api/jobs/", json=request)
        except DashboardUnreachable:
            # The answer may be what was lost, and not the job.
            if not any(job.id == submission.id for job in self.all()):
                raise
        return submission.id

    def all(self) -> list[Job]:
        """Every job that the cluster remembers, the newest first."""
        found = [_job(told) for told in self.dashboard.get("/api/jobs/")]
        return sorted(found, key=lambda job: job.started or datetime.max.replace(tzinfo=UTC), reverse=True)

    def get(self, id: str) -> Job:
        """One job. Raises NotFound where the cluster does not know it."""
        return _job(self._of(id, "GET", ""))

    def stop(self, id: str) -> bool:
        """Ask a job to end; False where it had ended before. Raises NotFound, or TandemError for a foreign driver."""
        return bool(self._of(id, "POST", "/stop")["stopped"])

    def log(self, id: str) -> str:
        """All that a job has written so far."""
        return str(self._of(id, "GET", "/logs")["logs"])

    def _of(self, id: str, method: str, part: str) -> Any:
        try:
            return self.dashboard.call(method, f"/api/jobs/{id}{part}")
        except NotFound as error:
            raise NotFound(
                f"The cluster at {self.dashboard.address} has no job {id!r}.",
                "The id of a job that was submitted since the cluster started.",
                "See `tandem jobs list`.",
            ) from error

    def _upload(self, name: str, content: bytes) -> str:
        """The URI of a package on the cluster; asking whether it is there also keeps it there for the next minutes."""
        path = f"/api/packages/gcs/{name}"
        try:
            self.dashboard.get(path)
        except NotFound:
            self.dashboard.call("PUT", path, content=content)
        return f"gcs://{name}"


def runtime_env(working_dir: str | None, code: str, env_vars: Mapping[str, str]) -> dict[str, Any]:
    """Ray's environment of a job: the wheel stands before the working directory on the path, and both before the image.

    https://docs.ray.io/en/latest/ray-core/api/doc/ray.runtime_env.RuntimeEnv.html
    """
    ours = {
        # After a request to stop, seconds to end what was started; Ray's default of 3 kills a training's clean-up.
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        # As in a session of our own: a process without a GPU of its own may look at those there are.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    environment: dict[str, Any] = {"py_modules": [code], "env_vars": {**ours, **env_vars}}
    return {"working_dir": working_dir, **environment} if working_dir else environment


def new_job_id(project: str, verb: str) -> str:
    """Such as helpdesk-train-20261126T031500-1a2b3c."""
    return f"{project}-{verb}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def connect_jobs(address: str) -> Jobs:
    """The jobs of the cluster at an address.

    Raises:
        TandemError: the address is not that of a dashboard.
    """
    if not address.startswith(("http://", "https://")):
        raise TandemError(
            f"cluster.address is {address!r}, which takes no jobs.",
            "The URL of a Ray cluster's dashboard, such as http://head:8265.",
            "Set `cluster.address` in the project file.",
        )
    return Jobs(Dashboard(address.rstrip("/")))


def _job(values: dict[str, Any]) -> Job:
    return Job(
        id=values["submission_id"] or values["job_id"], status=values["status"], entrypoint=values["entrypoint"],
        message=values.get("message") or "", metadata=values.get("metadata") or {},
        started=_time(values.get("start_time")), ended=_time(values.get("end_time")),
        driver_exit_code=values.get("driver_exit_code"), is_submitted=values.get("type") == "SUBMISSION",
    )  # fmt: skip


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
