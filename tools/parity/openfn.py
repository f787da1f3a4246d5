"""OpenFn's runtime, installed from the registry and run by Node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from tools.parity.modules import module_of
from tools.parity.observation import Observation, observed_there
from tools.parity.programs import Program
from worker.errors import PlanError

FOLDER: Final = Path(".cache/parity")
PACKAGES: Final = ("@openfn/runtime@1.9.5", "@openfn/language-common@3.3.4")
_SCRIPT: Final = Path(__file__).with_name("openfn.mjs")


def install() -> None:
    """Install the runtime and the adaptor, where they are not yet."""
    if all((FOLDER / "node_modules" / name.rpartition("@")[0]).is_dir() for name in PACKAGES):
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--prefix", str(FOLDER), "--no-save", "--no-package-lock",
               "--ignore-scripts", "--no-audit", "--no-fund", "--silent", *PACKAGES]  # fmt: skip
    subprocess.run(command, check=True)


class OpenFn:
    """One Node process, which takes many programs.

    ``kit`` is a built checkout of OpenFn's kit, whose compiler is used then.
    """

    def __init__(self, kit: Path | None = None) -> None:
        self._kit = kit
        command = ["node", "--no-warnings", "--experimental-vm-modules", str(_SCRIPT), str(FOLDER)]
        self._process = subprocess.Popen(
            command + ([str(kit)] if kit else []),
            env={**os.environ, "TZ": "UTC"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, encoding="utf-8",
        )  # fmt: skip
        self._exports: Sequence[str] = self._read()["exports"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self, program: Program) -> Observation:
        """Run a program, and return what was observed."""
        steps = []
        step_id = ""
        unnamed = 0
        try:
            for step in program.steps:
                unnamed += "id" not in step
                step_id = step.get("id", f"job-{unnamed}")
                steps.append(self._prepared(step))
        except PlanError as error:
            # Its compiler is ours, so a source that does not compile is no program there either.
            return Observation(path=(), error=(error.type, f"{step_id}: {error}"))
        plan = {**program.plan, "workflow": {**program.plan["workflow"], "steps": steps}}
        options = program.plan.get("options", {})
        request = {"plan": plan, "input": program.input, "options": options}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return observed_there(self._read())

    def _prepared(self, step: dict[str, Any]) -> dict[str, Any]:
        rest = {key: value for key, value in step.items() if key not in ("adaptor", "adaptors")}
        if self._kit is not None or "expression" not in step:
            return rest
        return {**rest, **module_of(step, self._exports)}

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("OpenFn's runtime has ended")
        answer = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer
