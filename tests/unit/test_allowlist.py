"""The allowlist: the hosts that a pattern, or a credential, opens, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from worker.adaptors.http.allowlist import (
    HostPattern,
    Reach,
    hosts_in_credentials,
    parse_host_pattern,
)
from worker.errors import UsageError


@pytest.mark.parametrize(
    ("pattern", "host", "port", "fits"),
    [
        ("*.example.org", "api.example.org", 443, True),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "evilexample.org", 443, False),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "example.org.evil.net", 443, False),
        ("*.example.org:8443", "api.example.org", 8443, True),
        ("*.example.org:8443", "api.example.org", 443, False),
        ("example.org", "example.org", 22, True),
        ("example.org", "api.example.org", 443, False),
        ("example.org:8443", "example.org", 8443, True),
        ("example.org:8443", "example.org", 443, False),
        ("*", "anything.test", 1, True),
        ("EXAMPLE.org", "example.org", 443, True),
        ("[::1]:80", "::1", 80, True),
    ],
)
def test_a_pattern_fits_its_hosts_and_no_others(
    pattern: str, host: str, port: int, fits: bool
) -> None:
    assert parse_host_pattern(pattern).fits(host, port) is fits


@pytest.mark.parametrize("text", ["", "a b", "http://x.org", "x.org/", "x.org:", "*x.org", "a.*.b"])
def test_what_is_no_pattern_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="expected HOST"):
        parse_host_pattern(text)


@pytest.mark.parametrize(
    ("credential", "patterns"),
    [
        ({"u": "http://h/"}, [HostPattern(host="h", port=80)]),
        ({"u": "https://h/path?q=1"}, [HostPattern(host="h", port=443)]),
        ({"baseUrl": "http://h:8080"}, [HostPattern(host="h", port=8080)]),
        ({"u": "https://user:secret@h:8443/x"}, [HostPattern(host="h", port=8443)]),
        ({"host": "h"}, [HostPattern(host="h")]),
        ({"Hostname": "h:25"}, [HostPattern(host="h", port=25)]),
        ({"SERVER": "h"}, [HostPattern(host="h")]),
        ({"password": "hunter2", "name": "h", "database": "db.example.org"}, []),
        ({"u": "ftp://h/", "port": 8080, "tls": True, "nested": {"host": "h"}}, []),
        ({"host": "not a host"}, []),
        ({"a": "http://h:99999/"}, []),
        ({"a": "http://["}, []),
        ({"a": "http:///path"}, []),
        ({"a": "http://h:port/"}, []),
        ({"a": "http://h/", "b": "http://h/x"}, [HostPattern(host="h", port=80)]),
    ],
)
def test_a_credential_opens_the_hosts_that_it_names(
    credential: dict[str, Any], patterns: list[HostPattern]
) -> None:
    assert hosts_in_credentials([credential]) == tuple(patterns)


def test_a_credentials_url_opens_its_own_port_alone() -> None:
    (pattern,) = hosts_in_credentials([{"baseUrl": "http://h:8080"}])
    assert pattern.fits("h", 8080)
    assert not any(pattern.fits("h", port) for port in (8081, 80, 443, 22))


@pytest.mark.parametrize(
    ("pattern", "may_be_private"),
    [
        (HostPattern(host="h"), True),
        (HostPattern(host="h", public_only=True), False),
        (HostPattern(host="*"), False),
        (HostPattern(host="*.h", public_only=True), False),
    ],
)
def test_only_a_name_by_somebody_who_may_opens_private_addresses(
    pattern: HostPattern, may_be_private: bool
) -> None:
    assert pattern.may_be_private is may_be_private


@pytest.mark.parametrize("public_only", [True, False])
def test_patterns_of_credentials_say_who_named_them(public_only: bool) -> None:
    (pattern,) = hosts_in_credentials([{"host": "h"}], public_only=public_only)
    assert pattern.public_only is public_only
    (named,) = hosts_in_credentials([{"host": "h"}])
    assert not named.public_only and parse_host_pattern("h").may_be_private


def test_a_step_reaches_its_own_hosts_and_those_of_all() -> None:
    all_steps, own = HostPattern(host="all"), HostPattern(host="own")
    reach = Reach(everywhere=(all_steps,), by_step={"a": (own,)})
    assert (reach.of("a"), reach.of("b")) == ((all_steps, own), (all_steps,))
