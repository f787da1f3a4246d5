"""Masking: no value of a credential survives, and what is masked is still JSON."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.util.masking import MASK, Mask, collect_secrets

SECRETS = st.text(min_size=4, max_size=20)
STATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


def mask_of(configuration: dict[str, Any]) -> Mask:
    return Mask(collect_secrets([configuration]))


@given(SECRETS, STATES)
def test_masked_json_is_json_without_the_secret(secret: str, state: Any) -> None:
    text = json.dumps({"copy": [secret, {"in": f"<{secret}>"}], "state": state}, ensure_ascii=False)
    masked = mask_of({"password": secret}).json(text)
    copy = json.loads(masked)["copy"] if MASK not in secret else None
    if copy is not None:
        assert secret not in copy[0] and secret not in copy[1].get("in", "")


@pytest.mark.parametrize("secret", ["null", "true", "1234567", '":{"', "data", '\\"\\"', "ünïcode"])
def test_a_secret_that_reads_like_json_breaks_nothing(secret: str) -> None:
    state = {"data": None, "on": True, "n": 1234567, "copy": secret}
    masked = json.loads(mask_of({"password": secret}).json(json.dumps(state, ensure_ascii=False)))
    assert secret not in json.dumps(list(masked.values()), ensure_ascii=False).replace(
        "null", ""
    ).replace("true", "") or secret in ("null", "true")
    assert secret not in [value for value in masked.values() if isinstance(value, str)]


@pytest.mark.parametrize(
    "spell",
    [
        lambda s: s,
        lambda s: quote(s, safe=""),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
        lambda s: base64.b64encode(f"nurse:{s}".encode()).decode(),
        json.dumps,
    ],
    ids=["plain", "percent", "base64", "base64url", "basic auth", "json"],
)  # fmt: skip
def test_every_spelling_is_masked(spell: Any) -> None:
    secret = 'p@ss "wörd"/1'
    mask = mask_of({"username": "nurse", "password": secret})
    assert MASK in mask.text(f"x {spell(secret)} y")
    assert spell(secret).strip('"') not in mask.text(f"x {spell(secret)} y")


@pytest.mark.parametrize("user", ["ann", "anna", "annie", "nurse-1"])
def test_basic_auth_is_masked_whatever_the_length_of_the_user(user: str) -> None:
    # With the colon, users of 3 lengths shift the secret to each position within base64's groups of
    # 3 bytes: only for one of them the text contains the secret's own base64.
    mask = mask_of({"username": user, "password": "s3cr3t-passw0rd"})
    text = base64.b64encode(f"{user}:s3cr3t-passw0rd".encode()).decode()
    assert mask.text(f"Authorization: Basic {text.rstrip('=')} ") == "Authorization: Basic *** "


def test_who_and_where_stay_readable() -> None:
    mask = mask_of({"baseUrl": "https://emr.example", "username": "nurse", "password": "hunter2!"})
    assert mask.text("GET https://emr.example as nurse") == "GET https://emr.example as nurse"


def test_an_address_with_a_password_in_it_is_a_secret() -> None:
    mask = mask_of({"url": "https://u:hunter2@db.example/x"})
    assert mask.text("at https://u:hunter2@db.example/x") == "at ***"


def test_nested_and_listed_values_are_secrets_too() -> None:
    mask = mask_of({"oauth": {"tokens": ["abcd-efgh", {"refresh": "ijkl-mnop"}]}, "pin": 123456})
    assert mask.text("abcd-efgh ijkl-mnop 123456") == "*** *** ***"


def test_a_state_nested_too_deeply_is_masked_as_a_whole() -> None:
    deep = "[" * 100_000 + '"hunter2!"' + "]" * 100_000
    assert mask_of({"password": "hunter2!"}).json(deep) == json.dumps(MASK)
