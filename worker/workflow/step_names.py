"""Steps of a workflow by what somebody types: an id, a name, or a part that only one has."""

from __future__ import annotations

from worker.errors import UsageError
from worker.workflow.model import Workflow

_MAX_NAMES = 8


def find_step(workflow: Workflow, text: str, option: str) -> str:
    """Return the id of the step that ``text`` means; empty for an empty text.

    An exact id or name counts before one in another case or spelling, and that before a part.
    Raises :class:`UsageError`, with ``option`` and the nearest steps.
    """
    if not text or any(step.id == text for step in workflow.steps):
        return text
    names = [(name, step.id) for step in workflow.steps for name in {step.id, step.name} if name]
    plain = _plain(text)
    tests = (
        lambda name: name == text,
        lambda name: _plain(name) == plain,
        lambda name: plain != "" and plain in _plain(name),
    )
    for matches in tests:
        ids = list(dict.fromkeys(id for name, id in names if matches(name)))
        if len(ids) == 1:
            return ids[0]
        if ids:
            raise UsageError(f"{option}: '{text}' can be {_list(ids)}: write one of these")
    from difflib import get_close_matches  # only for a mistake

    close = get_close_matches(text, [name for name, _ in names], n=1)
    known = f" (there are: {_list(_ids(workflow))})"
    hint = f"; did you mean '{close[0]}'?" if close else known
    raise UsageError(f"{option}: there is no step '{text}'{hint}")


def _ids(workflow: Workflow) -> list[str]:
    return [step.id for step in workflow.steps if step.runs_code] or [workflow.steps[0].id]


def _plain(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _list(ids: list[str]) -> str:
    more = f" and {len(ids) - _MAX_NAMES} more" if len(ids) > _MAX_NAMES else ""
    return ", ".join(f"'{id}'" for id in ids[:_MAX_NAMES]) + more
