"""Names and conditions of a workflow, as the sandbox evaluates them for the checks."""

from __future__ import annotations

import asyncio
import functools

from msgspec.structs import replace

from worker.adaptors.names import COMMON
from worker.errors import PlanError
from worker.lint.subject import Names, Probe
from worker.runner.pool import Pool
from worker.runner.prepare import Options, compiled_condition
from worker.sandbox.limits import Limits
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

# Far below the limits of a run, as a file can have hundreds of conditions.
PROBE = Options(limits=Limits(timeout_s=2, memory_mb=64))


async def names_of_jobs(pool: Pool) -> Names:
    """Return the names that jobs have in the sandbox."""
    # Read from there, so that no list here can differ from what a job really has.
    source = (
        "import * as common from '@openfn/language-common';\n"
        "export default [() => ({ globals: Object.getOwnPropertyNames(globalThis), "
        "common: Object.keys(common) })];"
    )
    step = Step(id="names", source=source, adaptors=(COMMON,))
    state = (await pool.run(Workflow(name="names", steps=(step,)))).final_state
    return Names(globals=frozenset(state["globals"]), common=frozenset(state["common"]))


async def evaluate_conditions(pool: Pool, workflow: Workflow) -> dict[tuple[str, str], Probe]:
    """Evaluate the conditions of a workflow, by the id of their source and their expression."""
    # Once each: edges of one step often repeat a condition.
    edges = {
        (step.id, edge.expression): edge
        for step in workflow.steps
        if step.runs_code
        for edge in step.edges
        if edge.kind is EdgeKind.EXPRESSION and edge.can_be_taken and _compiles(edge.expression)
    }
    probes = await asyncio.gather(*(_evaluate(pool, edge) for edge in edges.values()))
    return dict(zip(edges, probes, strict=True))


async def _evaluate(pool: Pool, edge: Edge) -> Probe:
    """Evaluate a condition over the state that a failed step passes on, from an empty input."""
    source = Step(
        id=edge.source,
        source="export default [() => { throw new Error('linted'); }];",
        edges=(replace(edge, target="\n"),),
    )
    # An id that no step of a file can have.
    target = Step(id="\n", kind=StepKind.TRIGGER)
    result = await pool.run(Workflow(name="probe", steps=(source, target)), {}, PROBE)
    threw = result.error_type == "EdgeConditionError"
    return Probe(
        taken=bool(result.path and result.path[0].next),
        threw=str(result.error_message).partition(" threw ")[2] if threw else "",
    )


# Conditions repeat, within a workflow and between the workflows of a project.
@functools.lru_cache(maxsize=4096)
def _compiles(expression: str) -> bool:
    try:
        compiled_condition(expression)
    except PlanError:
        return False
    return True
