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
    from worker.audit.laws import Breach
    from worker.core.outcome import StepError
    from worker.core.scripted import Script, ScriptedStep
    from worker.core.status import Status
    from worker.errors import LoadError, UsageError
    from worker.fuzzing.campaign import CampaignResult, Discovery
    from worker.fuzzing.endings import RunEnding, StepFailure
    from worker.fuzzing.fuzz_workflow import fuzz_workflow
    from worker.fuzzing.input_strategies import Strategies, strategies
    from worker.runner.result import PathEntry, Result
    from worker.sandbox.limits import Limits
    from worker.testing.case import Case, CronSchedule, Expectation, ExpectedOutput, RetryPolicy
    from worker.testing.case_reader import load_cases
    from worker.testing.case_runner import CaseResult, run_case, run_cases
    from worker.testing.case_trigger import ExpectedResponse, TriggerResponse, TriggerStart
    from worker.testing.cost_bound import CostBound
    from worker.testing.coverage import Coverage, measure, merge
    from worker.testing.failure_recording import record_failure
    from worker.testing.fixtures import (
        ExplainedBool,
        RunUnderTest,
        StartUnderTest,
        WorkflowUnderTest,
    )
    from worker.testing.flaky import Cause, Flakiness
    from worker.testing.json_schema import case_schema
    from worker.testing.mutants import Mutant, mutants_of
    from worker.testing.proofs import (
        Difference,
        MutationResult,
        Survivor,
        WorkflowDiff,
        audit_run,
        diff_workflows,
        find_flaky,
        mutation_test,
        synthetic_inputs,
    )
    from worker.testing.update import update_cases
    from worker.workflow.model import Workflow

# The one table of public names. It holds too what their signatures and docstrings mention, so that
# nobody needs a private module to annotate or to catch what they were given.
_MODULES = {
    "Breach": "worker.audit.laws",
    "CampaignResult": "worker.fuzzing.campaign",
    "Case": "worker.testing.case",
    "CaseResult": "worker.testing.case_runner",
    "Cause": "worker.testing.flaky",
    "CostBound": "worker.testing.cost_bound",
    "Coverage": "worker.testing.coverage",
    "CronSchedule": "worker.testing.case",
    "Difference": "worker.testing.proofs",
    "Discovery": "worker.fuzzing.campaign",
    "Expectation": "worker.testing.case",
    "ExpectedOutput": "worker.testing.case",
    "ExpectedResponse": "worker.testing.case_trigger",
    "ExplainedBool": "worker.testing.fixtures",
    "Flakiness": "worker.testing.flaky",
    "HttpReply": "worker.adaptors.http.exchange",
    "HttpRequest": "worker.adaptors.http.exchange",
    "Limits": "worker.sandbox.limits",
    "LoadError": "worker.errors",
    "Mutant": "worker.testing.mutants",
    "MutationResult": "worker.testing.proofs",
    "PathEntry": "worker.runner.result",
    "Result": "worker.runner.result",
    "RetryPolicy": "worker.testing.case",
    "RunEnding": "worker.fuzzing.endings",
    "RunUnderTest": "worker.testing.fixtures",
    "Script": "worker.core.scripted",
    "ScriptedStep": "worker.core.scripted",
    "StartUnderTest": "worker.testing.fixtures",
    "Status": "worker.core.status",
    "StepError": "worker.core.outcome",
    "StepFailure": "worker.fuzzing.endings",
    "Strategies": "worker.fuzzing.input_strategies",
    "Stub": "worker.adaptors.http.stub_host",
    "Survivor": "worker.testing.proofs",
    "TriggerResponse": "worker.testing.case_trigger",
    "TriggerStart": "worker.testing.case_trigger",
    "UsageError": "worker.errors",
    "Workflow": "worker.workflow.model",
    "WorkflowDiff": "worker.testing.proofs",
    "WorkflowUnderTest": "worker.testing.fixtures",
    "audit_run": "worker.testing.proofs",
    "case_schema": "worker.testing.json_schema",
    "diff_workflows": "worker.testing.proofs",
    "find_flaky": "worker.testing.proofs",
    "fuzz_workflow": "worker.fuzzing.fuzz_workflow",
    "load_cases": "worker.testing.case_reader",
    "measure": "worker.testing.coverage",
    "merge": "worker.testing.coverage",
    "mutants_of": "worker.testing.mutants",
    "mutation_test": "worker.testing.proofs",
    "record_failure": "worker.testing.failure_recording",
    "run_case": "worker.testing.case_runner",
    "run_cases": "worker.testing.case_runner",
    "strategies": "worker.fuzzing.input_strategies",
    "synthetic_inputs": "worker.testing.proofs",
    "update_cases": "worker.testing.update",
}

# Spelled out for type checkers and editors, which read no table; a test compares the two.
__all__ = [
    "Breach",
    "CampaignResult",
    "Case",
    "CaseResult",
    "Cause",
    "CostBound",
    "Coverage",
    "CronSchedule",
    "Difference",
    "Discovery",
    "Expectation",
    "ExpectedOutput",
    "ExpectedResponse",
    "ExplainedBool",
    "Flakiness",
    "HttpReply",
    "HttpRequest",
    "Limits",
    "LoadError",
    "Mutant",
    "MutationResult",
    "PathEntry",
    "Result",
    "RetryPolicy",
    "RunEnding",
    "RunUnderTest",
    "Script",
    "ScriptedStep",
    "StartUnderTest",
    "Status",
    "StepError",
    "StepFailure",
    "Strategies",
    "Stub",
    "Survivor",
    "TriggerResponse",
    "TriggerStart",
    "UsageError",
    "Workflow",
    "WorkflowDiff",
    "WorkflowUnderTest",
    "audit_run",
    "case_schema",
    "diff_workflows",
    "find_flaky",
    "fuzz_workflow",
    "load_cases",
    "measure",
    "merge",
    "mutants_of",
    "mutation_test",
    "record_failure",
    "run_case",
    "run_cases",
    "strategies",
    "synthetic_inputs",
    "update_cases",
]

# On first use: pytest loads this package in every project that has it installed, and must not pay
# for the sandbox and the adaptors there.
__getattr__, __dir__ = lazy_exports(__name__, _MODULES)
