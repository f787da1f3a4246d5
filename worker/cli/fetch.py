"""``worker fetch``: get a project of Lightning as it is deployed."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from worker.adaptors.http import bounded_request
from worker.cli.lightning_url import check_url
from worker.cli.options import PATH, POSITIVE, command, option
from worker.errors import UsageError
from worker.util.masking import hide_url_secrets
from worker.workflow.documents.document import read_text

MAX_PROJECT_BYTES = 100 * 1024 * 1024
TOKEN_VARIABLE = "OPENFN_API_KEY"  # noqa: S105 (the name of a variable)


@command()
@click.argument("project", metavar="PROJECT")
@option("--lightning", envvar="OPENFN_ENDPOINT", show_envvar=True, required=True, metavar="URL",
        help="Address of Lightning: http[s]://HOST.")  # fmt: skip
@option("--token-file", type=PATH, metavar="FILE",
        help=f"File with an API token.  [env var: {TOKEN_VARIABLE}, the token itself]")  # fmt: skip
@option("--output", "-o", type=PATH, required=True, metavar="FILE",
        help="Write the project to FILE: as YAML where its name ends in .yaml or .yml, else as "
             "JSON.")  # fmt: skip
@option("--timeout", type=POSITIVE, default=30.0, show_default=True, metavar="SECONDS",
        help="How long Lightning may take to answer.")  # fmt: skip
def fetch(
    *, project: str, lightning: str, token_file: Path | None, output: Path, timeout: float
) -> int:
    """Get a project of Lightning as it is deployed, by its UUID.

    The file can be run, tested and compared like any other project: in CI, what is deployed is
    tested with the cases of the repository.

    \b
    Examples:
      worker fetch 4adcf644-... --lightning https://app.openfn.org -o project.yaml
      worker diff project.yaml deployed.yaml
    """
    from worker.cli.files import write_file

    as_yaml = output.suffix in (".yaml", ".yml")
    content = get_project(
        lightning, project, _token(token_file), as_yaml=as_yaml, timeout_s=timeout
    )
    write_file(output, content)
    print(f"wrote {output}")
    return 0


def _token(file: Path | None) -> str:
    token = os.environ.get(TOKEN_VARIABLE, "")
    if file is not None:
        token = read_text(file).strip()
    # A line feed in the middle would be a header of its own.
    if not token.isascii() or not token.isprintable() or not token:
        raise UsageError(f"Lightning needs a token: add --token-file FILE, or {TOKEN_VARIABLE}")
    return token


def get_project(
    address: str, project: str, token: str, *, as_yaml: bool, timeout_s: float = 30.0
) -> bytes:
    """Request a project from the provisioning API. Raises :class:`UsageError`."""
    check_url(address, "http", "https", form="http[s]://HOST")
    readable_url = hide_url_secrets(address)
    id = quote(project, safe="")
    path = f"/api/provision/yaml?id={id}" if as_yaml else f"/api/provision/{id}"
    # A redirect, which is not followed, would carry the token to a host that nobody named.
    request = bounded_request.send(
        "GET",
        f"{address.rstrip('/')}{path}",
        headers={"authorization": f"Bearer {token}"},
        timeout_s=timeout_s,
        limit_bytes=MAX_PROJECT_BYTES,
    )
    try:
        status, content = asyncio.run(request)
    except bounded_request.ReplyTooLarge:
        limit_mb = MAX_PROJECT_BYTES // 2**20
        raise UsageError(f"the project is over the limit of {limit_mb} MB") from None
    except bounded_request.RequestFailed as error:
        raise UsageError(f"cannot get the project from {readable_url}: {error}") from error
    if status != 200:
        raise UsageError(f"cannot get the project from {readable_url}: {_reason(status)}")
    return content if as_yaml else _project(content, readable_url)


def _reason(status: int) -> str:
    reasons = {401: "the token is not accepted", 403: "the token has no access to it"}
    return reasons.get(status, "there is no such project" if status == 404 else f"HTTP {status}")


def _project(content: bytes, address: str) -> bytes:
    """Take the project out of the API's answer."""
    try:
        answer: Any = json.loads(content)
        data = answer["data"]
        return json.dumps(data, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{address} has sent no project") from error
