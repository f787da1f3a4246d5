"""Attacks by files that a person only opens, and by what is printed of them."""

from __future__ import annotations

import re

import pytest

from worker.errors import LoadError, UsageError
from worker.fleet.messaging.address import parse_address
from worker.workflow.documents import yaml_reader

HALVES = r'a: "\ud83d\ude00"' + "\n"
ODD_YAML = [
    # Half a pair of surrogates has the parser in Python read the file.
    HALVES + r'b: "\UFFFFFFFF"',
    HALVES + r'b: "\U00110000"',
    "%YAML " + "9" * 5000 + ".1\n--- # " + HALVES,
    HALVES + "b: !<%zz> c",
    HALVES + "b: *c",
    HALVES + "? [a]\n: b",
    HALVES + "b: " + "[" * 300,
]


@pytest.mark.parametrize("text", ODD_YAML, ids=lambda text: repr(text)[:50])
def test_odd_yaml_is_an_error_of_the_file(text: str) -> None:
    """Tries to make a command end as a defect of its own, by a file that it only reads."""
    with pytest.raises(LoadError):
        yaml_reader.parse(text, "w.yaml")


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://u:p4zz@h:99999",
        "mqtt://u:p4zz#word@h",
        "mqtt://u:p4:zz@h:x",
        "mqtt://u:a/p4zz@h",
        "http://u:x:p4zz@h",
        "mqtt://u:p4zz@[h",
    ],
)
def test_no_error_of_an_address_names_its_password(url: str) -> None:
    """Reads a password from an error message: one for a broker with a mistake in its address."""
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert re.findall("p4|zz|word", str(caught.value)) == []
