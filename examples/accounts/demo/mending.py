"""`python3 dev.py demo --break --auto`: the night is mended with the command line, as docs/how-to/operate.md says."""

import json
import os
import re
import subprocess
import sys
from typing import Any

import anyio
import httpx2

from .client import OFFPATH
from .night import ALERTS, ORDERS, PATIENCE, WHY, Night


class Operator:
    """Knows nothing of the service but what the commands say."""

    def __init__(self, night: Night) -> None:
        self.night = night
        self.terminal = night.terminal

    async def types(self, *arguments: str, data: bool = True) -> Any:
        """A command as a person would type it; what it prints (`data`: with --json, as values)."""
        self.terminal.say(f"$ {OFFPATH} {' '.join(repr(one) if ' ' in one else one for one in arguments)}")
        command = [sys.executable, "-m", "offpath", *arguments, *(["--json"] if data else [])]
        done = await anyio.run_process(command, check=False, stderr=subprocess.PIPE, env=self.environment)
        if done.returncode not in (0, 1):  # 1: the doctor has found something
            raise RuntimeError(f"offpath {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr.decode()}")
        text = done.stdout.decode()
        return json.loads(text) if data else text

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.night.environment}

    async def mends(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.night.mended)
            kind = await self.looks()
            await self.resumes()
            await self.replays(kind)
            await self.webhooks()
        await self.afterwards()

    async def looks(self) -> str:
        """What is wrong, and why; the class of the error."""
        say, check = self.terminal.say, self.terminal.check
        self.terminal.title("What is wrong")
        raised = [one["name"] for one in await self.types("alerts", "list") if one["state"] == "raised"]
        check(sorted(raised) == list(ALERTS), f"raised: {', '.join(raised)}")
        checks = await self.types("doctor")
        found = [one for one in checks if one["check"] == "failed"]
        check(bool(found) and "send_confirmation" in found[0]["detail"], found[0]["detail"])
        jobs = await self.types("jobs", "list", "--state", "failed", "--outstanding")
        self.job: str = jobs[0]["id"]
        check(len(jobs) == ORDERS, f"{len(jobs)} dead letters, all of task {jobs[0]['task']}")

        self.terminal.title("Why")
        job = await self.types("jobs", "show", self.job)
        error = job["error"]
        self.terminal.quote(f"{error['class']}: {error['detail']}")
        [url] = re.findall(r"curl -X POST (\S+/old-names)", error["detail"])
        say(f"$ curl -X POST {url}")
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(url)
        check(answer.status_code == 204, "the error names its cure, and the relay takes the old name again")
        return str(error["class"])

    async def resumes(self) -> None:
        self.terminal.title("The queue that somebody has paused")
        queues = await self.types("queues", "list")
        [paused] = [one for one in queues if one["paused"]]
        self.terminal.check(paused["reason"] == WHY, f"queue {paused['name']} is paused: {paused['reason']}")
        await self.types("queues", "resume", paused["name"])

    async def replays(self, kind: str) -> None:
        self.terminal.title("Run again what has failed")
        which = ("--state", "failed", "--error", kind)
        counted = await self.types("jobs", "retry", *which, "--dry-run")
        self.terminal.check(counted["of"] == ORDERS, f"that would be {counted['of']} jobs")
        await self.types("jobs", "retry", *which, "--yes")
        again = (await self.types("jobs", "show", self.job))["retried_as"]
        lines = await self.types("tail", "--job", again, data=False)
        self.terminal.quote(lines)
        self.terminal.check("succeeded" in lines, "the job that was looked at has succeeded, as a new one")

    async def webhooks(self) -> None:
        self.terminal.title("The webhooks that are off")
        [endpoint] = await self.types("webhooks", "endpoints", "--disabled")
        self.terminal.check("410" in endpoint["reason"], f"{endpoint['url']}: {endpoint['reason']}")
        await self.types("webhooks", "enable", endpoint["id"])
        await self.types("webhooks", "resend", endpoint["id"], "--since", "1h")

    async def afterwards(self) -> None:
        check = self.terminal.check
        self.terminal.title("Afterwards")

        async def quiet() -> bool:
            seen = await self.night.admin("GET", "")
            low = await self.night.admin("GET", "/queues/low")
            names = {alert["name"] for alert in seen["alerts"]}
            over = names <= {"order confirmations fail"} and seen["totals"]["failed_outstanding"]["count"] == 0
            return over and not low["paused"]

        with anyio.fail_after(PATIENCE):
            await self.night.until(quiet)
        check(True, "no dead letter is outstanding, no queue paused, no webhook off, no schedule late")
        acts = [one["action"] for one in await self.types("audit", "list")]
        wanted = {"queue.pause", "queue.resume", "endpoint.enable"}
        check(wanted <= set(acts), "the audit log has who did what")
