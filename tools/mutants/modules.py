"""The modules that are mutated, and the everyday tests of each, the fastest first.

``core/digraph`` is not: it imports a library faster, and any change of it is the slow import.
"""

from __future__ import annotations

from typing import Final

_UNIT: Final = "tests/unit/test_"
_CORE: Final = f"{_UNIT}core_rules.py"
_CONTROL: Final = tuple(
    f"{_UNIT}control_{name}.py"
    for name in ("reports", "leases", "claims", "orders", "cancel_retry", "states", "queries")
)
_HOSTILE: Final = "tests/acceptance/attack/test_hostile_frames.py"
_RECORDING: Final = (
    f"{_UNIT}recording_lines.py",
    f"{_UNIT}recording_files.py",
    f"{_UNIT}recording_format.py",
    "tests/integration/test_replay_rules.py",
    "tests/integration/test_recording.py",
)

TESTS: Final[dict[str, tuple[str, ...]]] = {
    "core/machine": (f"{_UNIT}machine.py", f"{_UNIT}machine_phases.py"),
    "core/compile_plan": (f"{_UNIT}plan.py", _CORE),
    "core/event_stream": (f"{_UNIT}frame_checks.py", f"{_UNIT}events.py"),
    "core/events": (f"{_UNIT}events.py", _CORE),
    "core/driver": ("tests/acceptance/attack/test_endless_graphs.py",),
    "core/execution": (f"{_UNIT}executions.py", _CORE, f"{_UNIT}events.py"),
    "core/outcome": (_CORE, f"{_UNIT}scripted.py"),
    "core/persistent": (f"{_UNIT}persistent.py",),
    "core/status": (f"{_UNIT}status.py",),
    "core/scripted": (f"{_UNIT}scripted.py",),
    "sandbox/parent/frames": (f"{_UNIT}frame_checks.py", _HOSTILE),
    "sandbox/parent/run_process": (
        f"{_UNIT}fake_runs.py", _HOSTILE,
        "tests/integration/test_run_process.py", "tests/integration/test_limits.py",
    ),
    "sandbox/parent/process_pool": (
        f"{_UNIT}process_pool.py", "tests/integration/test_run_process.py",
        "tests/integration/test_runners.py",
        "tests/acceptance/attack/test_bundles.py",
    ),
    "sandbox/parent/host": (
        f"{_UNIT}host_calls.py", "tests/acceptance/attack/test_requests.py",
    ),
    "sandbox/protocol": (f"{_UNIT}frames.py", f"{_UNIT}frame_checks.py", _HOSTILE),
    "sandbox/limits": (f"{_UNIT}workflow_limits.py", "tests/integration/test_limits.py"),
    "adaptors/http/allowlist": (f"{_UNIT}allowlist.py",),
    "adaptors/http/addresses": ("tests/acceptance/attack/test_requests.py",),
    "adaptors/http/live_host": (
        f"{_UNIT}replies.py", "tests/integration/test_live.py",
        "tests/acceptance/attack/test_requests.py",
    ),
    "util/masking": (
        f"{_UNIT}secrets.py", "tests/acceptance/attack/test_masking.py",
        "tests/acceptance/attack/test_secrets_and_caches.py",
    ),
    "util/spellings": (f"{_UNIT}secrets.py", "tests/acceptance/attack/test_masking.py"),
    "replay/recorder": (f"{_UNIT}recorder.py", f"{_UNIT}recording_format.py"),
    "replay/recording_lines": _RECORDING,
    "replay/recording_file": _RECORDING,
    "replay/recording_writer": _RECORDING,
    "replay/scrub": (f"{_UNIT}scrub.py", *_RECORDING),
    "fleet/control/lifecycle": (f"{_UNIT}lifecycle.py", *_CONTROL),
    "fleet/control/queue": (f"{_UNIT}queue.py",),
    "fleet/control/store/transaction": (
        f"{_UNIT}transaction.py", *_CONTROL, f"{_UNIT}store_conflicts.py",
        f"{_UNIT}unknown_commits.py", "tests/integration/test_store.py",
    ),
    "fleet/worker/outbox": (
        f"{_UNIT}outbox.py", f"{_UNIT}invariant_checks.py",
        "tests/acceptance/attack/test_full_stores.py",
        "tests/acceptance/attack/test_deep_fleet.py",
    ),
    "fleet/worker/report_sender": (
        f"{_UNIT}outbox.py", "tests/acceptance/attack/test_deep_fleet.py",
    ),
}  # fmt: skip
