"""Masking: no value of a credential survives, and what is masked is still JSON."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.error_json import mask_error
from worker.core.outcome import Position, StepError
from worker.util import masking
from worker.util.masking import (
    MASK,
    MAX_SECRETS,
    Mask,
    collect_secrets,
    hide_file_secrets,
    hide_url_secrets,
    javascript_number,
)
from worker.util.spellings import MAX_PATTERN_UNITS

# White space around a secret is no part of it.
SECRETS = st.text(min_size=4, max_size=20).filter(lambda text: len(text.strip()) >= 4)
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


VALUES = st.text(min_size=4, max_size=8).filter(lambda text: len(text.strip()) >= 4)
MANY_VALUES = st.tuples(VALUES, st.sampled_from([1, 1, 2, 30])).map(
    lambda pair: [pair[0]] * pair[1]
)
CONFIGURATIONS = st.dictionaries(
    st.sampled_from(["a", "b", "z"]),
    st.recursive(
        MANY_VALUES | VALUES,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(VALUES, inner, max_size=4),
        max_leaves=12,
    ),
)


def values_of(value: Any) -> list[str]:
    items = value.values() if isinstance(value, dict) else value
    return (
        [value] if isinstance(value, str) else [text for item in items for text in values_of(item)]
    )


@settings(max_examples=25)
@given(st.lists(CONFIGURATIONS, max_size=3))
def test_each_value_is_masked_or_all_is_hidden(configurations: list[dict[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "MAX_SECRETS", 40)
        masking._secrets_in.cache_clear()
        mask = Mask(collect_secrets([{"user": "nurse", **each} for each in configurations]))
        masking._secrets_in.cache_clear()
    for text in {value.strip() for value in values_of(configurations)}:
        assert mask.hides_all or text not in mask.text(f"\n{text}\n") or MASK in text


def test_repeated_values_displace_no_other() -> None:
    configuration = {"a": ["active-row"] * (MAX_SECRETS + 1), "z": "hunter2-real"}
    assert mask_of(configuration).text("at hunter2-real") == "at ***"


def test_as_many_secrets_as_the_limit_are_masked_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(masking, "MAX_SECRETS", 10)
    # A value in base64 has four spellings: two values are ten secrets, and three are too many.
    for values, hides_all in ((["hunter2!", "t0k3n-1x"], False), (["hunter3!", "t0k3n-2x", "x"], False),
                              (["hunter4!", "t0k3n-3x", "abcd"], True)):  # fmt: skip
        mask = mask_of({"a": values})
        assert mask.hides_all is hides_all and mask.text(values[0]) == MASK
    monkeypatch.setattr(masking, "MAX_SECRETS", 2)
    assert masking._distinct(iter("aabbccdd")) == ["a", "b", "c"]


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


# --- spellings ------------------------------------------------------------------------------------

AWKWARD = "P@ss w0rd!~*'()/\\+\"é\n%&=?#<>{}|^`🔑"


@pytest.mark.parametrize(
    "spelled",
    [
        json.dumps(AWKWARD),
        json.dumps(json.dumps(AWKWARD)),
        json.dumps(json.dumps({"body": json.dumps(AWKWARD, ensure_ascii=False)})),
        json.dumps(AWKWARD).replace("/", "\\/"),
        quote(AWKWARD),
        quote(AWKWARD, safe="!~*'()"),
        quote(AWKWARD, safe="!~*'();,/?:@&=+$#"),
        quote(AWKWARD, safe="*-._").replace("%20", "+"),
        quote(AWKWARD).lower().replace("p@", "P@").replace("p%", "P%"),
        quote(quote(AWKWARD)),
        AWKWARD.replace("\n", "\r\n"),
        AWKWARD.replace("\n", "").replace("\\", "/"),
    ],
)
def test_every_escape_of_an_awkward_character_is_masked(spelled: str) -> None:
    assert mask_of({"password": AWKWARD}).text(f"<{spelled}>").strip('<>"\\{}body: ') == MASK


@pytest.mark.parametrize("half", ["\ud800", "\udbff", "\udc00", "\udfff"])
@pytest.mark.parametrize("spelled", ["?", "\ufffd", "%EF%BF%BD", "%ef%bf%bd"])
def test_half_of_a_pair_is_masked_as_encoders_replace_it(half: str, spelled: str) -> None:
    mask = mask_of({"password": f"pass{half}word"})
    assert mask.text(f"<pass{spelled}word>") == f"<{MASK}>"
    assert mask.text(f"<pass\\u{ord(half):04x}word>") == f"<{MASK}>"


@pytest.mark.parametrize("char", ["\ud7ff", "\ue000"])
def test_a_whole_character_is_not_masked_where_it_was_replaced(char: str) -> None:
    assert mask_of({"password": f"pass{char}word"}).text("pass?word") == "pass?word"


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("after", ["", "x", "xy", "xyz"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_text_around_a_secret_is_masked(before: str, after: str, encode: Any) -> None:
    secret = "»s3cr3t?>passw0rd~~"
    text = encode(f"{before}{secret}{after}".encode()).decode()
    masked = mask_of({"password": secret}).text(text)
    # At either end, a character may stay that holds up to 4 bits of the secret.
    assert MASK in masked and len(masked) <= len(MASK) + 10, masked


def test_the_lines_of_a_key_are_secrets_but_not_its_first_line() -> None:
    lines = [
        "-----BEGIN PRIVATE KEY-----",
        "MIIEvQIBADANBgkqhkiG9w0B",
        "AQEFAASCBKcwggSjAgEAAoIB",
        "x==",
    ]
    mask = mask_of({"privateKey": "\n".join(lines)})
    assert mask.text("MIIEvQIBADANBgkqhkiG9w0B") == MASK
    assert mask.text("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"
    assert mask.text("\r\n".join(lines)) == mask.text("\\n".join(lines)) == MASK


def test_each_of_two_lines_is_a_secret() -> None:
    mask = mask_of({"privateKey": "MIIEvQIBADANBgkq\nAQEFAASCBKcwggSj"})
    assert mask.text("MIIEvQIBADANBgkq, AQEFAASCBKcwggSj") == f"{MASK}, {MASK}"


@pytest.mark.parametrize("secret", ["{hunter2", "{" * 9, '{"a":' * 100_000], ids=len)
def test_a_secret_may_begin_as_json_does(secret: str) -> None:
    assert secret in collect_secrets([{"password": secret}])


def test_the_values_in_a_key_file_are_secrets() -> None:
    mask = mask_of({"account": json.dumps({"private_key": "line-1\nline-2"})})
    assert mask.text("line-1\nline-2") == mask.text(r"line-1\nline-2") == MASK


@pytest.mark.parametrize(
    ("key", "url", "text", "masked"),
    [
        ("url", "postgres://ann:hunter%202@db.test/x", "pw=hunter 2", "pw=***"),
        ("dsn", "https://0a1b2c3d@sentry.test/1", "key 0a1b2c3d", "key ***"),
        (
            "url",
            "https://hooks.test/services/T0001/AbCdEfGh12345678",
            "POST https://hooks.test/services/T0001/AbCdEfGh12345678",
            "POST https://hooks.test/services/T0001/***",
        ),
        ("baseUrl", "https://x.test/api?key=abcd&f=json", "abcd in json", "*** in json"),
        ("baseUrl", "https://x.test/openmrs/ws/rest/v1", "/openmrs/ws/rest/v1", None),
    ],
)  # fmt: skip
def test_the_secret_parts_of_a_url_are_masked_alone(
    key: str, url: str, text: str, masked: str | None
) -> None:
    assert mask_of({key: url}).text(text) == (masked or text)


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("https://ann:hunter2@db.test/x", "https://ann:…@db.test/x"),
        ("https://x.test/a?key=abcd&f=json", "https://x.test/a?key=***&f=json"),
        ("https://x.test/a?key=abc", "https://x.test/a?key=abc"),
        # Random letters: eight of all kinds, sixteen with a digit, or twenty.
        ("https://x.test/aB3456x8/x", "https://x.test/***/x"),
        ("https://x.test/aB3456x/x", "https://x.test/aB3456x/x"),
        ("https://x.test/abcdefgh-jklmno7/x", "https://x.test/***/x"),
        ("https://x.test/abcdefgh-jklmn7/x", "https://x.test/abcdefgh-jklmn7/x"),
        ("https://x.test/abcdefgh-jklmnop-rstuvw/x", "https://x.test/abcdefgh-jklmnop-rstuvw/x"),
        ("https://x.test/abcdefghijklmnopqrst/x", "https://x.test/***/x"),
        ("https://x.test/abcdefghijklmnopqrs/x", "https://x.test/abcdefghijklmnopqrs/x"),
        ("no address: /abcdefghijklmnopqrst", "no address: /abcdefghijklmnopqrst"),
    ],
)
def test_an_address_is_shown_without_what_looks_random(url: str, hidden: str) -> None:
    assert hide_url_secrets(url) == hidden


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("sftp://ann:hunter2@h/r/8efa3ed3-ef5c.jsonl", "sftp://ann:…@h/r/8efa3ed3-ef5c.jsonl"),
        ("https://h/a.jsonl?X-Sig=ab&X-Date=1: gone", "https://h/a.jsonl?…: gone"),
        ("404, url='https://h/a.jsonl?sig=ab'", "404, url='https://h/a.jsonl?…'"),
        ("zip://*.jsonl::sftp://ann:hunter2@h/a.zip", "zip://*.jsonl::sftp://ann:…@h/a.zip"),
        ("s3://bucket/runs/d?.jsonl", "s3://bucket/runs/d?.jsonl"),
    ],
)
def test_the_url_of_a_file_is_shown_without_what_opens_it(text: str, hidden: str) -> None:
    assert hide_file_secrets(text) == hidden


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((1.5e21, "1.5e+21"), (1.5e-7, "1.5e-7"), (1234567.0, "1234567"), (1.5e300, "1.5e+300")),
        *((123456789012345678901, "123456789012345680000"), (-0.000123, "-0.000123")),
        *((1234.5678, "1234.5678"), (1e20, "100000000000000000000"), (1.25e-9, "1.25e-9")),
        *((-2.5e22, "-2.5e+22"), (1.23456, "1.23456"), (0.123456, "0.123456")),
        *((1.5e-6, "0.0000015"), (1.1e21, "1.1e+21"), (123456789e-13, "0.0000123456789")),
    ],
)
def test_a_number_is_masked_as_javascript_prints_it(number: float, text: str) -> None:
    assert javascript_number(number) == text
    assert mask_of({"pin": number}).text(f"pin={text}.") == "pin=***."
    assert json.loads(mask_of({"pin": number}).json(f'{{"n": {text}}}')) == {"n": MASK}


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (0.0, "0"), (-0.0, "0"), (10.0, "10")])
def test_a_small_number_is_formatted_as_javascript_does(number: float, text: str) -> None:
    assert javascript_number(number) == text


def test_a_number_that_javascript_does_not_have_is_masked_as_it_is_written() -> None:
    number = 10**400 + 7
    assert javascript_number(number) == str(number)
    assert mask_of({"pin": number}).text(f"pin={number}.") == "pin=***."


def test_a_control_character_is_masked_as_a_log_line_writes_it() -> None:
    mask = mask_of({"password": "pass\x01word\x9fend"})
    assert mask.text(r"<pass\x01word\x9fend>") == mask.text(r"<pass\u0001word\u009fend>") == "<***>"


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    mask = mask_of({"retries": 12345, "fast": True, "none": None, "pin": "abc", "list": [None]})
    assert mask.text("12345 true True null None abc") == "12345 true True null None abc"


def test_digits_of_a_number_that_are_those_of_a_secret_by_chance_stay() -> None:
    text = '{"id":91234567,"text":"91234567","pin":1234567}'
    assert json.loads(mask_of({"pin": 1234567}).json(text)) == {
        "id": 91234567,
        "text": "9***",
        "pin": MASK,
    }


def test_secrets_that_overlap_are_hidden_together() -> None:
    mask = mask_of({"a": "abcdef", "b": "efghij", "c": "cdefgh"})
    assert mask.text("<abcdefghij>") == "<***>"


@pytest.mark.slow
@pytest.mark.parametrize("secret", ["\\" * 12, '\\"' * 6, "\n" * 8 + "x" * 4, "+/ " * 9 + "x"])
def test_no_text_makes_masking_slow(secret: str) -> None:
    mask = mask_of({"password": secret})
    begin = time.process_time()
    for text in ("\\" * 50_000, '\\"' * 25_000, "\n" * 50_000, "+/ " * 20_000):
        mask.text(text + "xxxx")
    assert time.process_time() - begin < 5


# --- long secrets ---------------------------------------------------------------------------------

LONG = '!%"\\/ é\n+?' * 20 + "end"


@pytest.mark.parametrize(
    "spelled",
    [
        LONG,
        json.dumps(LONG)[1:-1],
        json.dumps(json.dumps(LONG))[3:-3],
        quote(LONG, safe=""),
        quote(quote(LONG)),
        LONG.replace("\n", "\r\n"),
        LONG.replace("\n", "").replace("\\", "/"),
    ],
)
def test_a_long_secret_is_masked_in_every_spelling(spelled: str) -> None:
    mask = Mask([LONG, LONG[:-3] + "END"])
    assert mask.text(f"<{spelled}> and <{spelled}>") == f"<{MASK}> and <{MASK}>"
    assert mask.text(f"<{spelled[:-1]}>") == f"<{spelled[:-1]}>"
    assert json.loads(mask.json(json.dumps(["a", f"<{spelled}>"]))) == ["a", f"<{MASK}>"]


def test_a_long_secret_is_masked_after_what_begins_like_it() -> None:
    secret = '"' * 200 + "tail"
    assert Mask([secret]).text(f'a """{secret} b') == f'a """{MASK} b'


def test_a_long_secret_of_percent_signs_is_masked_where_each_may_be_an_escape() -> None:
    secret = "%25" * 100 + "%"
    assert Mask([secret]).text(f"<{secret}>, <{quote(secret)}>") == f"<{MASK}>, <{MASK}>"


@pytest.mark.parametrize("count", [63, 64, 65])
def test_a_secret_about_as_long_as_a_pattern_is_masked(count: int) -> None:
    secret = '"' * count
    assert Mask([secret]).text(f"<{secret}>, {secret[1:]}") == f"<{MASK}>, {secret[1:]}"


def test_a_pattern_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to hold up a worker with one credential: 20 kB of punctuation took six seconds."""
    compiled: list[str] = []
    compile = re.compile

    def recorded(text: str) -> re.Pattern[str]:
        compiled.append(text)
        return compile(text)

    monkeypatch.setattr(re, "compile", recorded)
    secret = '"' * 20_000 + "x"
    assert Mask([secret]).text(f"<{secret}>") == f"<{MASK}>"
    assert max(map(len, compiled)) < 100 * MAX_PATTERN_UNITS


def test_a_text_that_only_begins_like_a_long_secret_everywhere_is_hidden() -> None:
    secret = '"' * 2000 + "x"
    masked = Mask([secret]).text("a " + '"' * 5000 + " x")
    assert masked.endswith(MASK) and len(masked) < 100
    assert Mask([secret]).text("a " + '"' * 100 + " x") == "a " + '"' * 100 + " x"


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        ("ab" + "\n" * 40 + "cd", "ab" + "\n" * 60 + "ce cd"),
        ("ab" + "\n%0a" * 30 + "cd", "ab" + "%0a" * 60 + "ce cd"),
        ('\\"' * 30 + "xxxx", '\\\\\\"' * 300 + " xxxx"),
        ('"' * 40 + "xxxx", '\\"' * 60 + " xxxx"),
    ],
    ids=["line ends", "line ends or text", "backslashes", "quotes"],
)
def test_no_text_is_divided_among_the_characters_of_a_secret_in_every_way(
    secret: str, text: str
) -> None:
    """Tries to hold up a worker for ever, with forty characters that each may take several."""
    assert Mask([secret]).text(text) == text


def test_a_secret_of_line_ends_masks_nothing() -> None:
    assert Mask(["\n" * 8]).text("abc") == "abc"


@pytest.mark.parametrize("secret", ["x\r\n\\\ry", "x\n\n\r\\ny", "x\r\n\t\\\nn", "x\n\r\\\n2y"])
def test_line_ends_before_backslashes_are_masked(secret: str) -> None:
    mask = Mask([secret])
    assert mask.text(f"<{secret}>") == mask.text(f"<{json.dumps(secret)[1:-1]}>") == f"<{MASK}>"


def test_a_backslash_before_a_line_end_of_windows_is_masked() -> None:
    assert (
        Mask(["x\\\ny"]).text(f"<{json.dumps('x' + chr(92) + chr(13) + chr(10) + 'y')}>")
        == f'<"{MASK}">'
    )


def test_the_ids_and_lines_of_an_error_stay() -> None:
    position = Position(line=1234567, column=1, source_line="pin = 1234567")
    cause = StepError(type="JobError", message="1234567", step_id="a-1234567")
    error = StepError(
        type="JobError",
        message="pin 1234567",
        name="Pin1234567",
        step_id="b-1234567",
        job_id="1234567",
        position=position,
        stack=("at 1234567",),
        details={"pin": 1234567, "n": 12345678},
        cause=cause,
    )
    assert mask_error(error, mask_of({"pin": 1234567}).json) == StepError(
        type="JobError",
        message="pin ***",
        name="Pin***",
        step_id="b-1234567",
        job_id="1234567",
        position=Position(line=1234567, column=1, source_line="pin = ***"),
        stack=("at ***",),
        details={"pin": MASK, "n": 12345678},
        cause=StepError(type="JobError", message=MASK, step_id="a-1234567"),
    )
