"""Follow a job's log until the job has ended; nothing is lost or shown twice when the dashboard goes away between.

Ray sends the log over a WebSocket, from its beginning each time: after a break what was shown is skipped.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from cluster.jobs.dashboard import DashboardUnreachable
from cluster.jobs.jobs import Job, Jobs

SILENCE_S = 45.0
"""After so long without a line the connection may be dead without anybody having said so; a new one is made."""

NOTICE_AFTER_S = 15.0
"""A job that has not started by then is said to wait, and what for."""

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 10.0
GIVE_UP_S = 900.0
"""Of a cluster that does not answer; the job goes on."""


@dataclass
class LogFollower:
    """One who follows one job."""

    jobs: Jobs
    id: str
    write: Callable[[str], None]
    note: Callable[[str], None]
    """What is said beside the log."""

    give_up_s: float = GIVE_UP_S
    silence_s: float = SILENCE_S
    shown: int = 0
    """Characters of the log that have been written."""

    def follow(self) -> Job:
        """Write the log as it grows; the job once it has ended.

        Raises:
            Unreachable: the cluster did not answer for `give_up_s`.
            NotFound: there is no such job, or none any more.
        """
        broken: float | None = None
        started, pause, notice = time.monotonic(), FIRST_RETRY_S, ""
        while True:
            try:
                job = self.jobs.get(self.id)
                if broken is not None:
                    self.note("the cluster answers again")
                broken, pause = None, FIRST_RETRY_S
                if job.has_ended:
                    self._write_rest(job)
                    return job
                waits = job.status == "PENDING" and time.monotonic() - started > NOTICE_AFTER_S
                if waits and job.message != notice:
                    notice = job.message
                    self.note(f"waiting: {notice}")
                asyncio.run(self._tail())
                time.sleep(FIRST_RETRY_S)
            except DashboardUnreachable as error:
                if broken is None:
                    broken = time.monotonic()
                    self.note(f"{error.seen} Trying again; the job goes on meanwhile.")
                if time.monotonic() - broken > self.give_up_s:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, MAX_RETRY_S)

    def _write_rest(self, job: Job) -> None:
        """What came after the last connection. The log of a driver whose node is gone cannot be had."""
        try:
            self._show(self.jobs.log(self.id)[self.shown :])
        except DashboardUnreachable as error:
            self.note(f"the end of the log cannot be read: {error.seen}")

    async def _tail(self) -> None:
        """One connection: until the log is at its end, the connection breaks, or it is silent for long."""
        import aiohttp

        dashboard, position = self.jobs.dashboard, 0
        address = f"{dashboard.address}/api/jobs/{self.id}/logs/tail"
        async with aiohttp.ClientSession(headers=dashboard.headers, trust_env=True) as session:
            try:
                async with session.ws_connect(address, ssl=dashboard.tls, max_msg_size=0) as socket:
                    while (message := await socket.receive(timeout=self.silence_s)).type is aiohttp.WSMsgType.TEXT:
                        self._show(message.data[max(self.shown - position, 0) :])
                        position += len(message.data)
            except TimeoutError:
                return
            except aiohttp.ClientError as error:
                dashboard.refuse(error)

    def _show(self, text: str) -> None:
        if text:
            self.write(text)
            self.shown += len(text)
