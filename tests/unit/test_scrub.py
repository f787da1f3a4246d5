"""Scrubbing of recordings: no secret stays, and what is none keeps its spelling."""

from __future__ import annotations

import json

import pytest

from worker.adaptors.http.exchange import Exchange, HttpReply, HttpRequest
from worker.errors import UsageError
from worker.replay.scrub import Scrubber, mask_configuration, mask_fields, scrub_exchange

PHONE = r"\d{4}-\d{6}"


def reply(body: bytes = b"", **headers: str) -> HttpReply:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HttpReply(status=200, url="https://x.test/", headers=pairs, body=body)


def request(body: bytes = b"", **headers: str) -> HttpRequest:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return HttpRequest(method="POST", url="https://x.test/", headers=pairs, body=body)


def test_secrets_and_patterns_are_masked_in_texts() -> None:
    scrubber = Scrubber(["hunter2!"], [PHONE, "ann"])
    assert scrubber.text("ann has hunter2! and 0700-123456") == "*** has *** and ***"


def test_patterns_are_applied_to_the_strings_of_json_alone() -> None:
    scrubber = Scrubber(["hunter2!"], [PHONE, '","'])
    text = '{"0700-123456":["a","0700-123456",{"p":"hunter2!"}],"n":1.50,"z":null,"t":true}'
    assert json.loads(scrubber.json(text)) == {
        "***": ["a", "***", {"p": "***"}], "n": 1.5, "z": None, "t": True
    }  # fmt: skip


def test_json_without_a_secret_keeps_its_spelling() -> None:
    text = '{ "n": 1.50 }'
    assert Scrubber(["hunter2!"]).json(text) == text


def test_a_pattern_that_is_no_regular_expression_is_named() -> None:
    with pytest.raises(UsageError, match=r"'\(' is not a regular expression: .*"):
        Scrubber(patterns=["("])


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "proxy-authorization", "cookie", "Set-Cookie", "X-Api-Key", "apikey"),
        *("x-auth-token-2", "client-secret", "X-Password"),
    ],
)
def test_the_values_of_secret_headers_are_masked(name: str) -> None:
    headers = ((name, "hunter2!"), ("accept", "text/html"))
    sent = HttpRequest(method="GET", url="https://x.test/", headers=headers)
    assert Scrubber().request(sent).headers == ((name, "***"), ("accept", "text/html"))


@pytest.mark.parametrize(
    ("body", "scrubbed"),
    [
        (b"", b""),
        (b"\xff\xfe hunter2!", b"\xff\xfe ***"),
        (b"\xff\xfe hunter2?", b"\xff\xfe hunter2?"),
        (b"p=hunter2!", b"p=***"),
        (b'{ "a": "hunter2!", "n": 1.50 }', b'{ "a": "***", "n": 1.50 }'),
        (b'{ "password": "***" }', b'{ "password": "***" }'),
        (b'{ "password": 1, "x": [ 1 ] }', b'{ "password": 1, "x": [ 1 ] }'),
        (b'{ "password": "abc" }', b'{"password":"***"}'),
        (b'[ [ { "access_token": "abc" } ] ]', b'[[{"access_token":"***"}]]'),
        (b'{"x": NaN, "api_key": "abc"}', b'{"x":NaN,"api_key":"***"}'),
        (b'{"x": "\\ud800", "idToken": "abc"}', b'{"x":"\\ud800","idToken":"***"}'),
        (b"[" * 100_000, b"***"),
        (b"[1]" * 2, b"[1]" * 2),
    ],
    ids=range(13),
)
def test_a_body_keeps_its_spelling_where_it_holds_no_secret(body: bytes, scrubbed: bytes) -> None:
    scrubber = Scrubber(["hunter2!"])
    assert scrubber.request(request(body)).body == scrubbed
    assert scrubber.reply(reply(body)).body == scrubbed


def test_all_parts_of_a_request_and_its_reply_are_scrubbed() -> None:
    scrubber = Scrubber(["hunter2!"])
    sent = HttpRequest(method="GET", url="https://x.test/hunter2!", headers=(("x", "hunter2!"),))
    assert scrubber.request(sent).url == "https://x.test/***"
    assert scrubber.request(sent).headers == (("x", "***"),)
    failed = HttpReply(url="https://x.test/hunter2!", error={"message": "no hunter2!"})
    assert scrubber.reply(failed).url == "https://x.test/***"
    assert scrubber.reply(failed).error == {"message": "no ***"}


def test_what_a_reply_calls_secret_is_masked_in_all_that_follows() -> None:
    login = reply(b'{"user":"ann","tokens":[{"access_token":"t0k3n"}]}', set_cookie="s=c00kie")
    scrubber, scrubbed = scrub_exchange(
        Scrubber(),
        Exchange(
            step="a", execution=0, sent_us=1, arrived_us=2, request=request(b"t0k3n"), reply=login
        ),
    )
    assert scrubbed.request.body == b"***"
    assert scrubbed.reply.headers == (("set-cookie", "***"),)
    assert json.loads(scrubbed.reply.body) == {"user": "ann", "tokens": [{"access_token": "***"}]}
    assert scrubber.text("t0k3n, s=c00kie, ann") == "***, ***, ann"


@pytest.mark.parametrize("token", ["abc", "***"])
def test_short_and_masked_values_are_no_secrets_elsewhere(token: str) -> None:
    scrubber = Scrubber(["hunter2!"])
    body = json.dumps({"token": "abcd", "access_token": token, "n": {"access_token": 1234}})
    assert scrubber.with_secrets_of(reply(body.encode())) is scrubber


def test_a_token_of_four_characters_is_a_secret() -> None:
    scrubber = Scrubber().with_secrets_of(reply(b'{"access_token":"abcd"}'))
    assert scrubber.text("abcd") == "***"
    assert scrubber.with_secrets_of(reply(b'{"access_token":"abcd"}')) is scrubber


def test_a_token_that_holds_a_credential_is_masked_as_events_spell_it() -> None:
    scrubber = Scrubber(["hunter2!"]).with_secrets_of(reply(b'{"access_token":"t-hunter2!-x"}'))
    assert scrubber.text("t-***-x") == scrubber.text("t-hunter2!-x") == "***"
    same = Scrubber(["hunter2!"]).with_secrets_of(reply(b'{"access_token":"hunter2!?"}'))
    assert same.text("*** hunter2!?") == "*** ***"
    alone = Scrubber(["hunter2!"], ["x"]).with_secrets(["t0k3n"])
    assert alone.text("hunter2! t0k3n x") == "*** *** ***"


def test_the_secret_fields_of_json_are_masked_at_any_depth() -> None:
    value = {"a": [{"client_secret": "x", "secrets": "y"}], "password": None, "n": 1}
    masked = {"a": [{"client_secret": "***", "secrets": "y"}], "password": None, "n": 1}
    assert mask_fields(value) == masked


def test_a_credential_is_masked_but_for_its_hosts_and_users() -> None:
    configuration = {
        "baseUrl": "https://x.test", "username": "ann", "password": "hunter2!",
        "oauth": {"token": "abcd-efgh", "port": 8080}, "list": ["ijkl-mnop", 1, {"pin": 1234567}],
        "pin": 1234567.5, "retries": 3, "fast": True, "none": None,
    }  # fmt: skip
    assert mask_configuration(configuration) == {
        "baseUrl": "https://x.test", "username": "ann", "password": "***",
        "oauth": {"token": "***", "port": 8080}, "list": ["***", 1, {"pin": "***"}],
        "pin": "***", "retries": 3, "fast": True, "none": None,
    }  # fmt: skip


@pytest.mark.parametrize(("count", "is_hidden"), [(1000, False), (1001, True)])
def test_a_reply_with_too_many_tokens_hides_all_that_follows(count: int, is_hidden: bool) -> None:
    body = json.dumps([{"access_token": f"t0k3n-{number:04}-x"} for number in range(count)])
    scrubber = Scrubber(patterns=[PHONE]).with_secrets_of(reply(body.encode()))
    assert scrubber.text("at t0k3n-0999-x") == ("***" if is_hidden else "at ***")
    assert (scrubber.text("nothing") == "***") is is_hidden
    assert (scrubber.with_secrets(["more"]).text("nothing") == "***") is is_hidden


TOKEN = "tok-SECRET-123456"
UNPARSED = {
    "too deep": f'{{"access_token":"{TOKEN}","x":{"[" * 201}{"]" * 201}}}'.encode(),
    "too deep, and no JSON": f'{{"access_token":"{TOKEN}","x":{"[" * 201}'.encode(),
    "cut": f'{{"access_token": "{TOKEN}'.encode(),
    "lines": f'{{"a":1}}\n{{"access_token":"{TOKEN}"}}\n'.encode(),
    "a number without end": f'{{"access_token":"{TOKEN}","n":{"1" * 5000}}}'.encode(),
    "a mark of the order of bytes": f'\ufeff{{"access_token":"{TOKEN}"}}'.encode(),
    "UTF-16": json.dumps({"access_token": TOKEN}).encode("utf-16"),
    "no UTF-8": f'{{"a":"\xe9","access_token":"{TOKEN}"}}'.encode("latin-1"),
}


@pytest.mark.parametrize("body", UNPARSED.values(), ids=list(UNPARSED))
def test_no_body_that_cannot_be_parsed_shows_its_secret_fields(body: bytes) -> None:
    exchange = Exchange(
        step="a", execution=0, sent_us=1, arrived_us=2, request=request(body), reply=reply(body)
    )
    scrubber, scrubbed = scrub_exchange(Scrubber(), exchange)
    for masked in (scrubbed.request.body, scrubbed.reply.body):
        assert b"SECRET" not in masked.replace(b"\0", b"") and b"***" in masked.replace(b"\0", b"")
    assert scrubber.text(f"at {TOKEN}") == "at ***"
    alone = Scrubber().request(request(body))
    assert b"SECRET" not in alone.body.replace(b"\0", b"")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le", "utf-16-be"])
def test_a_secret_in_a_body_of_any_encoding_is_masked_alone(encoding: str) -> None:
    around = bytes(range(256))
    body = around + "s\xe9cret-1".encode(encoding) + around
    masked = Scrubber(["s\xe9cret-1"]).reply(reply(body)).body
    assert masked == around + "***".encode(encoding) + around


def test_a_file_with_many_brackets_stays_as_it_is() -> None:
    file = b"\x89PNG" + bytes(range(256)) * 300 + b"[" * 300
    assert Scrubber(["hunter2!"]).reply(reply(file)).body == file


def test_deep_json_of_a_scrubber_with_patterns_is_hidden() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    assert Scrubber(patterns=[PHONE]).json(deep) == '"***"'
