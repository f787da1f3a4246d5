"""Attacks by code that has got out of the guard of Python steps, or out of the JavaScript engine.

Each test says what it tries. A step reaches ``os`` by one of the ways around the guard, which is
no boundary. The code of a broken engine makes its calls in a process confined like a runner's.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.helpers import check_events, job, workflow
from worker.fleet.worker.run_executor import Allowance
from worker.runner.pool import Pool
from worker.runner.result import Result
from worker.sandbox.confinement.layers import missing_layers

pytestmark = pytest.mark.skipif(bool(missing_layers()), reason="this system cannot confine runs")

ESCAPES = {
    "attrgetter": """
        import operator, re
        MODULES = operator.attrgetter('__globals__')(re.compile)['enum'].sys.modules
    """,
    "get_type_hints": """
        import typing
        MODULES = {}
        def hinted(x: "MODULES.update(__import__('sys').modules) or int"): pass
        typing.get_type_hints(hinted, {'MODULES': MODULES})
    """,
    "vars": """
        import re
        GLOBALS = vars(type(re.compile))['__glo' + 'bals__'].__get__(re.compile)
        MODULES = GLOBALS['enum'].sys.modules
    """,
}
REACHED = """
os, load = MODULES['os'], MODULES['builtins'].__import__
load('_socket'), load('mmap')
"""


def attack(body: str, way: str = "attrgetter") -> Result:
    """Run a Python step that has got out of the guard and then executes ``body``."""
    source = textwrap.dedent(ESCAPES[way]) + REACHED + "def step(state):\n"
    source += textwrap.indent(body, "    ") + "\n    return {'data': 'done'}\n"
    step = {"id": "a", "adaptor": "python", "expression": source}
    result = worker.run(workflow(step), {}, timeout=20)
    check_events(result)
    return result


def check_refused(result: Result) -> None:
    assert (result.status, result.error_type) == ("killed", "SecurityError"), result.error


@pytest.mark.parametrize("way", ESCAPES)
def test_the_guard_alone_stops_nobody(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gets out, and looks for a token in the environment: so the attacks below do run."""
    monkeypatch.setenv("TOKEN", "of the worker")
    result = attack("assert os.getpid() and not os.environ", way)
    assert (result.status, result.final_state) == ("success", {"data": "done"}), result.error


DAEMON = """
if os.fork() == 0:
    os.setsid()
    os.fork() or os.execv('/bin/sleep', ['a-daemon-of-a-run', '60'])
"""
ATTACKS = {
    "opens a socket": "load('_socket').socket()",
    "reaches sockets of others by datagrams": "load('_socket').socketpair(1, 2)",
    "executes a program": "os.execv('/bin/sh', ['sh', '-c', 'true'])",
    "starts a process": "os.fork()",
    "starts a process that outlives the run": DAEMON,
    "starts a thread": "load('_thread').start_new_thread(print, ())",
    "kills the process that forks runs": "os.kill(os.getppid(), 9)",
    "reads the names of users": "os.open('/etc/passwd', os.O_RDONLY)",
    "reads its environment": "os.open('/proc/self/environ', os.O_RDONLY)",
    "reads the environment of its parent": "os.open(f'/proc/{os.getppid()}/environ', 0)",
    "reads the memory of its parent": "os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY)",
    "lists its descriptors": "os.listdir('/proc/self/fd')",
    "lists a folder": "os.listdir('/')",
    "reads where a link leads": "os.readlink('/proc/self/exe')",
    "writes a file": "os.open('FOLDER/new', os.O_WRONLY | os.O_CREAT)",
    "empties a file": "os.truncate('FOLDER/file', 0)",
    "opens up a file": "os.chmod('FOLDER/file', 0o777)",
    "removes a file": "os.unlink('FOLDER/file')",
    "renames a file": "os.rename('FOLDER/file', 'FOLDER/new')",
    "links a file": "os.symlink('FOLDER/file', 'FOLDER/new')",
    "makes a folder": "os.mkdir('FOLDER/new')",
    "becomes another user": "os.setuid(1)",
    "shares memory, which no limit counts": "load('mmap').mmap(-1, 1 << 20)",
    "makes a file in memory, which no limit counts": "os.memfd_create('x')",
}


@pytest.mark.parametrize("tried", ATTACKS)
def test_a_step_outside_of_the_guard(tried: str, tmp_path: Path) -> None:
    """Tries what the name says; nothing has changed afterwards, and the run is killed."""
    file = tmp_path / "file"
    file.write_text("precious")
    mode = file.stat().st_mode
    check_refused(attack(ATTACKS[tried].replace("FOLDER", str(tmp_path))))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (file.read_text(), file.stat().st_mode) == ("precious", mode)
    assert not [command for command in commands() if "a-daemon-of-a-run" in command]


def commands() -> list[str]:
    """List the command lines of this machine's processes."""
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def test_addresses_are_limited_as_their_tables_take_memory() -> None:
    """Reads a page in each 2 MiB of 64 GiB: 128 MiB of page tables, which are nobody's data."""
    body = """m = load('mmap').mmap(-1, 64 << 30, flags=0x22, prot=1)
for at in range(0, len(m), 2 << 20):
    m[at]"""
    result = attack(body)
    assert result.status == "failed" and "Cannot allocate memory" in str(result.error)


def test_a_step_goes_on_after_a_call_that_was_refused() -> None:
    """Catches the error of one call, to make others: each of them is refused by itself."""
    tried = "try:\n    os.listdir('/')\nexcept OSError:\n    pass\n"
    assert attack(tried).status == "success"
    check_refused(attack(f"{tried}os.unlink('/nothing')"))


def test_a_permission_error_of_a_steps_own_is_a_failure() -> None:
    source = "def step(state):\n    raise PermissionError('not your patient')"
    result = worker.run(workflow({"id": "a", "adaptor": "python", "expression": source}))
    assert (result.status, result.error_type) == ("failed", "JobError")


def test_modules_and_time_zones_can_be_read() -> None:
    source = """
        import asyncio, decimal, hashlib, uuid
        async def step(state):
            await asyncio.sleep(0)
            from datetime import datetime
            from zoneinfo import ZoneInfo
            day = datetime.strptime('2026-02-03', '%Y-%m-%d').replace(tzinfo=ZoneInfo('Africa/Lagos'))
            return {'data': [day.isoformat(), hashlib.sha256(b'').hexdigest()[:4]]}
    """
    step = {"id": "a", "adaptor": "python", "expression": textwrap.dedent(source)}
    result = worker.run(workflow(step))
    assert result.final_state == {"data": ["2026-02-03T00:00:00+01:00", "e3b0"]}, result.error


# --- outside of the JavaScript engine -------------------------------------------------------------

CONFINED = """
import ctypes, json, mmap, os, sys
from worker.sandbox.confinement import system
from worker.sandbox.confinement.process import Confinement
from worker.sandbox.confinement.call_rules import Profile, numbers

table = numbers(system.machine())
table["a call of x32"] = 0x40000000 | table["getpid"]
call = ctypes.CDLL(None, use_errno=True).syscall
call.restype = ctypes.c_long
system.forbid_privileges()
confinement = Confinement()
exits = {}
for name, arguments in json.loads(sys.argv[1]):
    process = os.fork()
    if process == 0:
        confinement.confine(Profile.JAVASCRIPT)
        values = [v.encode() if isinstance(v, str) else ctypes.c_long(v) for v in arguments]
        os._exit(0 if call(ctypes.c_long(table[name]), *values) >= 0 else 1)
    exits[name] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
print(json.dumps(exits))
"""
PRIVATE, SHARED, ANONYMOUS, READ_WRITE = 2, 1, 32, 3


def exits(*calls: tuple[str, list[Any]]) -> dict[str, int]:
    """Make each call in a process confined like a runner; return how each of them ended."""
    command = [sys.executable, "-c", CONFINED, json.dumps(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, int] = json.loads(done.stdout)
    return result


def test_code_outside_of_the_engine() -> None:
    """Opens, connects, starts, kills, traces, shares memory: each call ends the process."""
    tried: list[tuple[str, list[Any]]] = [
        ("openat", [-100, "/nothing", 0o101, 0o600]),
        ("openat2", [-100, "/etc/passwd", 0, 0]),
        ("unlinkat", [-100, "/nothing", 0]),
        ("socket", [1, 1, 0]),
        ("socketpair", [1, 1, 0, 0]),
        ("connect", [3, 0, 0]),
        ("sendmsg", [3, 0, 0]),
        ("clone", [17, 0, 0, 0, 0]),
        ("clone3", [0, 0]),
        ("execve", ["/bin/true", 0, 0]),
        ("kill", [1, 0]),
        ("tkill", [1, 0]),
        ("pidfd_send_signal", [3, 0, 0, 0]),
        ("pidfd_open", [1, 0]),
        ("ptrace", [16, 1, 0, 0]),
        ("process_vm_readv", [1, 0, 0, 0, 0, 0]),
        ("prctl", [4, 1, 0, 0, 0]),
        ("unshare", [0x10000000]),
        ("memfd_create", ["x", 0]),
        ("io_uring_setup", [1, 0]),
        ("bpf", [0, 0, 0]),
        ("mmap", [0, 4096, READ_WRITE, SHARED | ANONYMOUS, -1, 0]),
        ("a call of x32", []),
    ]
    assert exits(*tried) == dict.fromkeys(dict(tried), -signal.SIGSYS)


def test_what_a_runner_needs_is_allowed_and_what_is_unknown_fails() -> None:
    assert exits(
        ("getpid", []),
        ("mmap", [0, 4096, READ_WRITE, PRIVATE | ANONYMOUS, -1, 0]),
        ("uname", [0]),
        # The C library itself looks into /proc where a thread returns memory.
        ("openat", [-100, "/etc/passwd", 0, 0]),
        ("fcntl", [0, 8, 1]),  # the process that signals of this descriptor go to
        ("prlimit64", [1, 7, 0, 0]),  # another process
    ) == {"getpid": 0, "mmap": 0, "uname": 1, "openat": 1, "fcntl": 1, "prlimit64": 1}


async def test_processes_of_runs_have_nothing_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Looks at what a runner holds: environment, descriptors, folder, rights."""
    monkeypatch.setenv("TOKEN", "of the worker")
    async with Pool(size=1) as pool:
        with (tmp_path / "secret").open("w") as file:
            file.write("secret")
            assert (await pool.run(workflow(job("fn(s => s);")))).status == "success"
        zygote = Path(f"/proc/{pool.zygote_pid}")
        (runner,) = (zygote / f"task/{pool.zygote_pid}/children").read_text().split()
        status = dict(
            line.split(":\t") for line in Path(f"/proc/{runner}/status").read_text().splitlines()
        )
        try:
            environments = [(at / "environ").read_bytes() for at in (zygote, Path("/proc", runner))]
            targets = {
                int(link.name): str(link.readlink())
                for link in Path(f"/proc/{runner}/fd").iterdir()
            }
        except PermissionError:
            pytest.skip("only root can look into it")
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert environments == [b"", b""]
    assert [targets.pop(stream) for stream in range(3)] == ["/dev/null"] * 3
    sockets = [target for target in targets.values() if target.startswith("socket:")]
    own = [f"/proc/{runner}/pagemap", f"/proc/{runner}/statm"]
    rest = [at for at in targets.values() if at not in (*sockets, *own)]
    assert len(sockets) == 1
    assert all("/engine/" in at or at.startswith("/memfd:engine") for at in rest), rest


# --- whose code arrives over a network ------------------------------------------------------------


@pytest.mark.slow
async def test_an_order_with_a_python_step_is_refused_where_python_is_off() -> None:
    """Submits code of its own to a worker that was not started with --allow-python."""
    plan = {
        "workflow": {
            "name": "code",
            "steps": [{"id": "a", "adaptor": "python", "expression": "def step(s): return s"}],
        }
    }
    async with worker.local_fleet(allowance=Allowance(allow_python=False)) as client:
        order = await client.submit(plan=plan)
        run = await client.wait(order["last_run"])
    assert (run["status"], run["error_type"]) == ("killed", "SecurityError")
    assert "--allow-python" in run["error_message"]
