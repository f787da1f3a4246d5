"""The allowlist: the hosts that a pattern, or a credential, opens, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from worker.adaptors.http.allowlist import (
    HostPattern,
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
