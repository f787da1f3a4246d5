"""Picture of the README: the graph of a real run whose look-up fails, with what came of it.

``make picture`` runs graphs/referral.yaml with a patient that the registry does not know, and
writes docs/images/run.svg. The file follows the light or dark theme of its reader.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import worker
from worker.core.events import Dataclip
from worker.view.graph.drawing import draw
from worker.view.graph.svg import render_svg
from worker.view.report.build_run_view import build_run_view
from worker.view.report.report_source import ReportSource

GRAPHS = Path(__file__).parents[1] / "graphs"


def picture() -> str:
    """Return the graph of the run as SVG."""
    workflow = worker.load(GRAPHS / "referral.yaml")
    input = json.loads((GRAPHS / "referral.unknown-patient.input.json").read_text())
    result = worker.run(workflow, input)
    source = ReportSource(
        name="run",
        workflow=workflow,
        workflow_known=True,
        events=result.events,
        input=Dataclip.of(input),
    )
    _, annotations = build_run_view(source)
    return render_svg(draw(workflow, annotations))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture())
