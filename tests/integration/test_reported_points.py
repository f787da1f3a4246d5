"""Points that the first users reported: each has its test, here or elsewhere."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

import worker
from tests.support.command import call_worker
from worker.core.events import RunLog
from worker.replay.divergence import first_divergence

TESTS = Path(__file__).parents[1]

# What was reported, and the test that would notice it again.
POINTS = {
    "a project has a module `worker` of its own": "a_project_with_its_own_module_worker_is_tested",
    "requests from Python": "hosts_of_credentials_are_allowed_without_an_option",
    "connect is a function": "connect_stays_a_function",
    "a fork after a run": "a_fork_of_a_process_that_has_run_something_runs_too",
    "an interruption": "an_interruption_ends_the_run",
    "a run with steps": "a_lightning_run_with_its_steps_runs_its_jobs",
    "an unknown message": "an_unknown_message_of_an_imported_run_is_not_compared",
    "times of fleet runs": "a_run_has_the_times_of_its_events_and_not_of_their_arrival",
    "the result of a fleet run": "the_commands_of_clients",
    "rows of explore": "explore_cuts_no_row_in_a_pipe",
    "misspelt keys": "a_misspelt_key_is_found_with_its_line",
    "lingering errors": "errors_linger_only_where_the_graph_leads_them",
    "durations in log lines": "durations_in_log_lines_are_no_difference_of_two_runs",
    "a handled failure on a terminal": "the_tree_has_the_message_of_a_handled_failure",
    "two files of one name": "two_files_of_one_name_are_refused_with_both_places",
    "a reader that leaves": "a_reader_that_leaves_early_is_no_crash",
    "pipes as files": "a_pipe_is_read_as_a_file",
    "no broker": "a_broker_that_is_not_there_is_named_with_its_url",
    "a fleet to try": "a_fleet_for_a_first_try_says_what_to_type_next",
    "keys of cases": "the_how_to_of_cases_has_every_key",
    "a job alone, checkouts": "a_workflow_of_a_checkout_runs_by_its_name",
    "mixed files": "folders_patterns_and_mixed_files",
    "a first input on the pages": "the_pages_of_a_run",
    "a report is HTML": "a_report_is_not_written_under_another_suffix",
    "retry asks": "a_run_is_cancelled_and_run_again_from_a_step",
    "wrong arguments": "a_wrong_argument_is_an_error_that_names_it",
    "one signature": "the_three_have_one_signature",
    "an id with other content": "the_same_id_with_other_content_is_a_conflict_that_names_both",
    "lists, short ids": "the_list_shows_worker_error_and_short_ids",
    "metrics": "metrics_and_health_are_served",
    "folders of outputs": "a_folder_of_the_output_that_is_missing_is_created",
    "masked credentials": "credentials_are_given_by_name_and_never_printed",
    "allowed modules": "a_module_that_is_not_allowed_is_answered_with_those_that_are",
    "jobs are counted": "validate_counts_jobs_and_no_triggers",
    "sections of the help": "the_help_is_in_sections",
    "names of steps": "a_step_is_named_from_python_as_on_the_command_line",
    "files of options": "the_order_is_option_environment_env_file_toml_own_file",
    "mistakes": "a_mistake_in_a_command",
}


@cache
def names_of_tests() -> frozenset[str]:
    texts = (file.read_text("utf-8") for file in TESTS.rglob("test_*.py"))
    return frozenset(name for text in texts for name in re.findall(r"def test_(\w+)", text))


@pytest.mark.parametrize("point", POINTS)
def test_a_point_has_its_test(point: str) -> None:
    assert POINTS[point] in names_of_tests()


# --- those without another place ------------------------------------------------------------------


def test_connect_stays_a_function() -> None:
    script = "import worker; worker.local_fleet; import worker.fleet.connect; worker.connect('')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "UsageError: '' is not a broker URL" in done.stderr


ERRORS = {"j1": {"source": "runtime", "name": "JobError", "severity": "fail", "message": "boom"}}
LIGHTNING_RUN = {
    "id": "r1",
    "jobs": [{"id": "j1", "name": "j", "adaptor": "@openfn/language-common@3.3.4",
              "body": "fn(() => { throw new Error('boom') })"}],
    "triggers": [{"id": "t", "type": "webhook"}],
    "edges": [{"id": "e", "source_trigger_id": "t", "target_job_id": "j1",
               "condition_type": "always", "enabled": True}],
    "starting_node_id": "t",
    "dataclip_id": "d",
    "dataclips": [{"id": "d", "body": {}}, {"id": "o", "body": {"data": {}, "errors": ERRORS}}],
    "steps": [{"id": "s1", "job_id": "j1", "exit_reason": "fail", "error_type": "JobError",
               "input_dataclip_id": "d", "output_dataclip_id": "o",
               "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:01Z"}],
}  # fmt: skip


@pytest.fixture
def lightning_run(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(json.dumps(LIGHTNING_RUN))
    return tmp_path


def test_a_lightning_run_with_its_steps_runs_its_jobs(lightning_run: Path) -> None:
    done = call_worker("run", "run.json", cwd=lightning_run)
    assert done.returncode == 1 and "JobError: boom" in done.stdout


def test_an_unknown_message_of_an_imported_run_is_not_compared(lightning_run: Path) -> None:
    call_worker("import", "run.json", "-o", "r.jsonl", cwd=lightning_run)
    replayed = call_worker("replay", "r.jsonl", cwd=lightning_run)
    assert replayed.returncode == 0, replayed.stdout


def test_explore_cuts_no_row_in_a_pipe(tmp_path: Path) -> None:
    names = [f"a-step-with-a-long-name-{number}" for number in range(6)]
    following = [{name: "state.errors"} for name in names[1:]] + [{}]
    steps = [
        {"id": name, "expression": "x", "next": next}
        for name, next in zip(names, following, strict=True)
    ]
    (tmp_path / "w.json").write_text(json.dumps({"steps": steps}))
    table = call_worker("explore", "w.json", cwd=tmp_path).stdout
    assert "…" not in table and len(set(table.splitlines())) == len(table.splitlines()) > 5


def test_durations_in_log_lines_are_no_difference_of_two_runs() -> None:
    source = "export default [s => { console.log('GET /x - 200 in 567ms'); return s }]"
    workflow = worker.load({"steps": [{"id": "a", "expression": source}]})
    events = worker.run(workflow, run_id="r").events
    other = [
        replace(event, message="GET /x - 200 in 98ms") if isinstance(event, RunLog) else event
        for event in events
    ]
    assert first_divergence(events, other, logs_last=True) is None
    assert first_divergence(events, other) is not None


def test_the_tree_has_the_message_of_a_handled_failure() -> None:
    steps = [
        {"id": "a", "expression": "export default [() => { throw new Error('boom') }]",
         "next": {"b": "on_job_failure"}},
        {"id": "b", "expression": "export default [s => s]"},
    ]  # fmt: skip
    workflow = worker.load({"steps": steps})
    tree = worker.LiveTree(workflow)
    for event in worker.run(workflow).events:
        tree.receive(event)
    screen = io.StringIO()
    Console(file=screen, width=120).print(tree._tree())
    tree.close()
    assert "JobError: boom" in screen.getvalue()


def test_a_report_is_not_written_under_another_suffix(tmp_path: Path) -> None:
    done = call_worker("report", "x.jsonl", "-o", "report.pdf", cwd=tmp_path)
    assert done.returncode == 2 and "end report.pdf in .html" in done.stderr


def test_a_module_that_is_not_allowed_is_answered_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("import os\ndef step(state):\n    return state\n")
    done = call_worker("run", "job.py", cwd=tmp_path)
    assert done.returncode == 4 and re.search(r"can import .*datetime.* json,", done.stderr)


def test_validate_counts_jobs_and_no_triggers(lightning_run: Path) -> None:
    assert "1 step, could run" in call_worker("validate", "run.json", cwd=lightning_run).stdout
