"""Points that the first users reported: each has its test, here or elsewhere."""

from __future__ import annotations

import io
import itertools
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from rich.console import Console

import worker
from tests.support.command import call_worker
from worker.cli.dev import _order
from worker.cli.main import cli
from worker.core.events import RunLog
from worker.replay.divergence import first_divergence
from worker.view import dashboard
from worker.view.dashboard.templating import create_environment
from worker.view.graph.drawing import draw
from worker.view.graph.svg import render_svg

TESTS = Path(__file__).parents[1]

# What users reported, by its number, and the tests that would notice it again.
POINTS = {
    "1 a project has a module `worker` of its own": "a_project_with_its_own_module_worker_is_tested",
    "2 requests from Python": "hosts_of_credentials_are_allowed_without_an_option",
    "3 connect is a function": "connect_stays_a_function",
    "4 a fork after a run": "a_fork_of_a_process_that_has_run_something_runs_too",
    "5 an interruption": "an_interruption_ends_the_run",
    "6 a run with steps": "a_lightning_run_with_its_steps_runs_its_jobs",
    "7 an unknown message": "an_unknown_message_of_an_imported_run_is_not_compared",
    "8 times of fleet runs": "a_run_has_the_times_of_its_events_and_not_of_their_arrival",
    "9 the result of a fleet run": "the_commands_of_clients a_dataclip_is_read_by_its_id",
    "10 rows of explore": "explore_cuts_no_row_in_a_pipe",
    "11 tests on a busy machine": "no_test_of_every_day_waits_for_twenty_recordings",
    "12 misspelt keys": "a_misspelt_key_is_found_with_its_line triggers"
    " a_function_that_an_installed_adaptor_lacks",
    "13 lingering errors": "errors_linger_only_where_the_graph_leads_them",
    "14 durations in log lines": "durations_in_log_lines_are_no_difference_of_two_runs",
    "15 durations of recorded runs": "a_recording_has_true_durations_beside_the_clock_that_the_code_reads",
    "16 a handled failure on a terminal": "the_tree_has_the_message_of_a_handled_failure",
    "17 steps of a lost run": "no_step_runs_on_in_a_run_that_has_ended",
    "18 two files of one name": "two_files_of_one_name_are_refused_with_both_places",
    "19 a reader that leaves": "a_reader_that_leaves_early_is_no_crash",
    "20 pipes as files": "a_pipe_is_read_as_a_file",
    "21 no broker": "a_broker_that_is_not_there_is_named_with_its_url",
    "22 a fleet to try": "a_fleet_for_a_first_try_says_what_to_type_next what_a_first_try_offers_exists",
    "23 keys of cases": "the_how_to_of_cases_has_every_key",
    "24 a job alone, checkouts": "a_workflow_of_a_checkout_runs_by_its_name",
    "25 mixed files": "folders_patterns_and_mixed_files",
    "26 a first input, errors, HTML, width": "the_pages_of_a_run a_report_is_not_written_under_another_suffix"
    " pages_fit_are_accessible_and_are_kept_as_pictures",
    "27 retry asks, workers that left": "a_run_is_cancelled_and_run_again_from_a_step"
    " workers_that_left_are_folded_away",
    "28 wrong arguments": "a_wrong_argument_is_an_error_that_names_it",
    "29 one signature, completion": "the_three_have_one_signature python_runs_the_package_as_the_command"
    " table_list_and_imports_for_type_checkers_agree a_result_has_its_steps_a_dict_and_a_report",
    "30 an id with other content": "the_same_id_with_other_content_is_a_conflict_that_names_both",
    "31 lists, short ids": "the_list_shows_worker_error_and_short_ids",
    "32 metrics": "metrics_and_health_are_served",
    "33 folders of outputs, the state": "a_folder_of_the_output_that_is_missing_is_created"
    " a_run_on_a_terminal_ends_with_how_to_see_its_state",
    "34 the path of a run": "a_path_has_arrows_where_the_graph_has_edges",
    "35 masked credentials": "credentials_are_given_by_name_and_never_printed",
    "36 allowed modules, missing names": "a_module_that_is_not_allowed_is_answered_with_those_that_are"
    " a_job_without_an_adaptor_gets_a_hint",
    "37 jobs are counted": "validate_counts_jobs_and_no_triggers",
    "38 sections of the help": "the_help_is_in_sections",
    "39 names of steps, units": "a_step_is_named_from_python_as_on_the_command_line a_mistake_in_a_command",
    "40 files of options": "the_order_is_option_environment_env_file_toml_own_file",
}  # fmt: skip

# The same for attacks and load on the dashboard and the health endpoint.
PAGES = {
    "1 a silent connection": "clients_that_send_nothing_hold_nobody_up"
    " the_end_of_the_process_waits_for_no_client silent_clients_are_disconnected",
    "2 cookies of others": "cookies_of_other_servers_do_no_harm",
    "3 links from elsewhere": "a_link_from_elsewhere_reaches_its_page a_link_with_a_token_reaches_its_page"
    " no_link_leads_to_another_host",
    "4 wrong tokens of a foreign page": "wrong_tokens_of_a_foreign_page_lock_nobody_out"
    " parts_of_foreign_pages_make_no_guess",
    "5 stale pages": "a_stale_page_does_not_retry several_retries_at_once_make_one_run"
    " other_pages_of_the_order_are_notified_of_the_new_run",
    "6 a frozen control plane": "a_frozen_control_plane_is_shown",
    "7 exact JSON and names": "a_copied_dataclip_is_the_same_json names_in_persian_and_emoji_stay_whole",
    "8 large data": "every_line_of_a_long_log_is_reachable dataclips_are_downloaded_and_paged"
    " filters_match_parts_of_names_and_times",
    "9 streams and connections": "a_session_has_a_limited_number_of_streams"
    " idle_connections_keep_nobody_out idle_connections_are_closed",
    "10 tokens and sessions that ended": "an_address_is_worthless_after_signing_out"
    " the_token_makes_a_session_and_leaves_the_address signing_out_ends_streams_at_once"
    " expired_and_replaced_sessions_end",
    "11 TLS, hosts, HEAD, long names, readers": "the_cookie_is_secure_behind_tls"
    " a_foreign_name_reads_nothing the_login_page_has_an_address a_head_request_of_a_stream_returns"
    " a_long_name_keeps_the_size_of_the_graph a_read_only_session_acts_nowhere",
    "12 runs that grow": "five_tabs_of_a_growing_run_stay_idle an_open_page_receives_only_what_changed"
    " a_live_request_is_small",
}  # fmt: skip


@cache
def names_of_tests() -> frozenset[str]:
    texts = (file.read_text("utf-8") for file in TESTS.rglob("test_*.py"))
    return frozenset(name for text in texts for name in re.findall(r"def test_(\w+)", text))


@pytest.mark.parametrize("point", POINTS)
def test_a_point_has_its_tests(point: str) -> None:
    assert set(POINTS[point].split()) <= names_of_tests()


@pytest.mark.parametrize("point", PAGES)
def test_a_point_about_the_pages_has_its_tests(point: str) -> None:
    assert set(PAGES[point].split()) <= names_of_tests()


def test_the_points_are_numbered_without_a_gap() -> None:
    for table, count in (POINTS, 40), (PAGES, 12):
        assert [int(point.split()[0]) for point in table] == list(range(1, count + 1))


# --- those without another place ------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_lightning_run_with_its_steps_runs_its_jobs(lightning_run: Path) -> None:
    done = call_worker("run", "run.json", cwd=lightning_run)
    assert done.returncode == 1 and "JobError: boom" in done.stdout


@pytest.mark.slow
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


def test_no_test_of_every_day_waits_for_twenty_recordings() -> None:
    from tests.integration import test_recording

    marks = {getattr(each, "name", "") for each in test_recording.pytestmark}
    assert "slow" in marks


@pytest.mark.slow
def test_a_path_has_arrows_where_the_graph_has_edges(tmp_path: Path) -> None:
    same = {"expression": "export default [s => s]"}
    steps = [
        {"id": "a", **same, "next": {"b": True, "c": True}},
        {"id": "b", **same, "next": {"d": True}},
        *({"id": name, **same} for name in "cd"),
    ]
    (tmp_path / "w.json").write_text(json.dumps({"steps": steps}))
    done = call_worker("run", "w.json", "--record", "r.jsonl", cwd=tmp_path)
    ran = [entry.step for entry in worker.run(worker.load(tmp_path / "w.json")).path]
    edges = {("a", "b"), ("a", "c"), ("b", "d")}
    pairs = itertools.pairwise(ran)
    signs = ["", *(" → " if pair in edges else ", " for pair in pairs)]
    assert ", " in signs and " → " in signs
    marked = "".join(f"{sign}{step} ✓" for sign, step in zip(signs, ran, strict=True))
    assert f"  path: {marked}\n" in done.stdout
    replayed = call_worker("replay", "r.jsonl", cwd=tmp_path)
    assert f"  path: {marked.replace(' ✓', '')}\n" in replayed.stdout


@pytest.mark.slow
def test_a_run_on_a_terminal_ends_with_how_to_see_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.json").write_text('{"steps": [{"id": "a", "expression": "s => s"}]}')
    monkeypatch.setattr("worker.cli.single_run._watched", lambda output: True)
    monkeypatch.chdir(tmp_path)
    hint = "the final state: --output - prints it, --output FILE writes it\n"
    assert hint in CliRunner().invoke(cli, ["run", "w.json"]).stderr
    assert hint not in CliRunner().invoke(cli, ["run", "w.json", "-o", "-"]).stderr


@pytest.mark.slow
async def test_a_dataclip_is_read_by_its_id() -> None:
    plan = {"workflow": {"steps": [{"id": "a", "expression": "export default [s => ({ n: 7 })]"}]}}
    async with worker.local_fleet() as client:
        run = await client.wait((await client.submit(plan=plan))["last_run"])
        id = run["steps"][0]["output_dataclip_id"]
        assert await client.dataclip(run["run_id"], id) == {"n": 7}
        with pytest.raises(worker.ControlError, match="has no dataclip 'other'"):
            await client.dataclip(run["run_id"], "other")


def test_a_long_name_keeps_the_size_of_the_graph() -> None:
    workflow = worker.load({"steps": [{"id": "x" * 64, "expression": "x"}]})
    root = ET.fromstring(render_svg(draw(workflow)))
    # As wide as it is drawn, in a frame that scrolls: scaled down, its letters would be tiny.
    assert root.get("width") == root.get("viewBox", "").split()[2]
    styles = (Path(dashboard.__file__).parent / "assets/page.css").read_text()
    rules = re.findall(r"\.frame[^{]*\{([^}]*)\}", styles)
    assert any("overflow" in rule for rule in rules) and "width" not in "".join(rules)


def test_workers_that_left_are_folded_away() -> None:
    left = {"name": "south-2", "online": False, "leases": [], "since": 1, "offers": {}}
    template = create_environment().get_template("workers.html")
    page = template.render(online=[], offline=[left], csrf="")
    folded = page[page.index('<details class="left"') :]
    assert "1 worker left" in folded and "south-2" in folded


def test_what_a_first_try_offers_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Of a project that is deployed, and of a folder without any workflow.
    assert _order(["Referral intake"]) == "worker submit --ref 'Referral intake'"
    echo, text, *rest = shlex.split(_order([]))
    assert (echo, rest) == ("echo", ["|", "worker", "submit", "-"])
    assert worker.run(worker.load(json.loads(text))).status is worker.Status.SUCCESS
