"""Text of case files, in the format of their name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.util.json import dump_indented
from worker.workflow.documents.yaml_reader import is_plain_text


def dump_cases(target: Path, content: Mapping[str, Any]) -> str:
    """Write the text of a case file: JSON or YAML, by its suffix."""
    if target.suffix == ".json":
        return dump_indented(content)
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(str, represent_text)
    text: str = yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def represent_text(representer: Any, text: str) -> Any:
    """Represent a text as a scalar that is read back as the same text."""
    # The emitters take these for line ends that can be folded into a space, and quote the numbers
    # of YAML 1.1 alone: 0E0 is a number of 1.2.
    special = any(character in text for character in "\x85\u2028\u2029") or not is_plain_text(text)
    tag = "tag:yaml.org,2002:str"
    return representer.represent_scalar(tag, text, style='"' if special else None)
