"""Tests of workflows: case files, a pytest fixture, and the coverage of a workflow's rules.

    from worker.testing import load_cases, run_case

    for case in load_cases(Path("graphs/referral.cases.yaml")):
        assert run_case(case).mismatches == ()

The names in ``__all__`` are public. The modules of this package are private: they move and change
without notice. pytest finds the fixture ``workflow`` and the case files through the package's
entry point; nothing has to be imported for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.util.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from worker.adaptors.http.exchange import HttpReply, HttpRequest
    from worker.adaptors.http.stub_host import Stub
    from worker.core.outcome import StepError
    from worker.core.scripted import Script, ScriptedStep
    from worker.core.status import Status
    from worker.errors import LoadError, UsageError
    from worker.runner.result import PathEntry, Result
    from worker.sandbox.limits import Limits
    from worker.testing.case import Case, CronSchedule, Expectation, ExpectedOutput, RetryPolicy
    from worker.testing.case_reader import load_cases
    from worker.testing.case_runner import CaseResult, run_case, run_cases
    from worker.testing.cost_bound import CostBound
    from worker.testing.coverage import Coverage, measure, merge
    from worker.testing.fixtures import ExplainedBool, RunUnderTest, WorkflowUnderTest
    from worker.testing.json_schema import case_schema
    from worker.testing.update import update_cases
    from worker.workflow.model import Workflow

# The one table of public names. It holds too what their signatures and docstrings mention, so that
# nobody needs a private module to annotate or to catch what they were given.
_MODULES = {
    "Case": "worker.testing.case",
    "CaseResult": "worker.testing.case_runner",
    "CostBound": "worker.testing.cost_bound",
    "Coverage": "worker.testing.coverage",
    "CronSchedule": "worker.testing.case",
    "Expectation": "worker.testing.case",
    "ExpectedOutput": "worker.testing.case",
    "ExplainedBool": "worker.testing.fixtures",
    "HttpReply": "worker.adaptors.http.exchange",
    "HttpRequest": "worker.adaptors.http.exchange",
    "Limits": "worker.sandbox.limits",
    "LoadError": "worker.errors",
    "PathEntry": "worker.runner.result",
    "Result": "worker.runner.result",
    "RetryPolicy": "worker.testing.case",
    "RunUnderTest": "worker.testing.fixtures",
    "Script": "worker.core.scripted",
    "ScriptedStep": "worker.core.scripted",
    "Status": "worker.core.status",
    "StepError": "worker.core.outcome",
    "Stub": "worker.adaptors.http.stub_host",
    "UsageError": "worker.errors",
    "Workflow": "worker.workflow.model",
    "WorkflowUnderTest": "worker.testing.fixtures",
    "case_schema": "worker.testing.json_schema",
    "load_cases": "worker.testing.case_reader",
    "measure": "worker.testing.coverage",
    "merge": "worker.testing.coverage",
    "run_case": "worker.testing.case_runner",
    "run_cases": "worker.testing.case_runner",
    "update_cases": "worker.testing.update",
}

# Spelled out for type checkers and editors, which read no table; a test compares the two.
__all__ = [
    "Case",
    "CaseResult",
    "CostBound",
    "Coverage",
    "CronSchedule",
    "Expectation",
    "ExpectedOutput",
    "ExplainedBool",
    "HttpReply",
    "HttpRequest",
    "Limits",
    "LoadError",
    "PathEntry",
    "Result",
    "RetryPolicy",
    "RunUnderTest",
    "Script",
    "ScriptedStep",
    "Status",
    "StepError",
    "Stub",
    "UsageError",
    "Workflow",
    "WorkflowUnderTest",
    "case_schema",
    "load_cases",
    "measure",
    "merge",
    "run_case",
    "run_cases",
    "update_cases",
]

# On first use: pytest loads this package in every project that has it installed, and must not pay
# for the sandbox and the adaptors there.
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
