"""Policy of a control plane: limits of projects, use of credentials, and rights of clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from worker.errors import UsageError
from worker.workflow.documents.document import read_document
from worker.workflow.documents.mismatch import fail_mismatch
from worker.workflow.order_retry import OrderRetry

Right = Literal["submit", "plan", "cancel", "retry", "read", "operate", "deploy"]
OverLimit = Literal["reject", "queue"]
OPERATOR = "operator"
"""The user of the broker who may deploy where no policy says otherwise."""
ANYBODY = "*"


class RateLimit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most ``runs`` are leased in ``period_s`` seconds; further ones wait."""

    runs: Annotated[int, Meta(ge=1)]
    period_s: Annotated[float, Meta(gt=0)] = 60.0


class ProjectLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one project; ``None`` means unlimited.

    ``concurrent`` is how many of its runs may be unfinished, ``per_period`` how many are accepted
    in ``period_s`` seconds; orders above that are rejected, or with ``over_limit: queue`` they wait
    until no more than that are leased, and have been in the period. ``workflows`` limits, by name,
    how many runs of a workflow are leased at once; further ones wait. ``idempotent`` names the
    workflows whose lost runs are done again, besides those that have this option themselves.
    ``retry`` is the retry policy of its workflows without one of their own, ``retries`` that of
    some by name.
    """

    concurrent: Annotated[int, Meta(ge=0)] | None = None
    per_period: Annotated[int, Meta(ge=0)] | None = None
    period_s: Annotated[float, Meta(gt=0)] = 3600.0
    workflows: Mapping[str, Annotated[int, Meta(ge=0)]] = {}
    idempotent: frozenset[str] = frozenset()
    over_limit: OverLimit = "reject"
    retry: OrderRetry | None = None
    retries: Mapping[str, OrderRetry] = {}
    rates: Mapping[str, RateLimit] = {}
    keep_data: Literal["all", "errors", "none"] = "all"
    output_dataclips: bool = True
    placement: frozenset[str] = frozenset()


class CredentialUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may name a credential: a ``project`` (``*``: all), in a registered ``workflow``.

    With ``plans`` also in orders that carry their own plan, whatever they name their workflow.
    """

    project: str = ANYBODY
    workflow: str = ANYBODY
    plans: bool = False

    def fits(self, project: str, workflow: str | None) -> bool:
        """Return True for a project and its registered workflow; ``None`` is a plan of its own."""
        if self.project not in (ANYBODY, project):
            return False
        return self.plans if workflow is None else self.workflow in (ANYBODY, workflow)


class ClientRights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may request, and for which projects (``None``: all).

    ``submit`` orders of registered workflows; submit a ``plan`` of its own; ``cancel``, ``retry``
    and ``read`` orders of everybody; ``operate``: pause, resume, acknowledge alerts;
    ``deploy`` workflows.
    """

    may: frozenset[Right] = frozenset()
    projects: frozenset[str] | None = None

    def may_read(self, project: str) -> bool:
        """Return True for a client that may read the orders of a project."""
        return "read" in self.may and (self.projects is None or project in self.projects)


# To deploy is to start work in the name of others, so it is a right that has to be given.
ALL_RIGHTS = ClientRights(may=frozenset(("submit", "plan", "cancel", "retry", "read", "operate")))
OPERATOR_RIGHTS = ClientRights(may=ALL_RIGHTS.may | {"deploy"})


class _PolicyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default: ProjectLimits = ProjectLimits()
    projects: dict[str, ProjectLimits] = {}
    credentials: dict[str, tuple[CredentialUse, ...]] = {}
    credential_rates: dict[str, RateLimit] = {}
    clients: dict[str, ClientRights] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of all projects, the use of credentials, and the rights of clients.

    ``default`` limits the projects without an entry. A credential without an entry may be named by
    all registered workflows, and by no order that carries its own plan. ``clients`` are users of
    the broker; one without an entry has the rights of ``*``, or none. Where ``clients`` is
    ``None``, the broker alone decides, and only ``OPERATOR`` may deploy. ``allows_everything`` is
    for tests and for one machine.
    """

    default: ProjectLimits = field(default_factory=ProjectLimits)
    projects: Mapping[str, ProjectLimits] = field(default_factory=dict)
    credentials: Mapping[str, tuple[CredentialUse, ...]] = field(default_factory=dict)
    credential_rates: Mapping[str, RateLimit] = field(default_factory=dict)
    clients: Mapping[str, ClientRights] | None = None
    allows_everything: bool = False

    def of(self, project: str) -> ProjectLimits:
        return self.projects.get(project, self.default)

    def concurrency(self, project: str, workflow: str) -> int | None:
        """Return how many runs of a workflow may be leased at once; ``None``: any number."""
        return self.of(project).workflows.get(workflow)

    def rights_of(self, client: str) -> ClientRights:
        """Return the rights of a user of the broker; ``""`` is one without a name."""
        if self.allows_everything:
            return OPERATOR_RIGHTS
        if self.clients is None:
            return OPERATOR_RIGHTS if client == OPERATOR else ALL_RIGHTS
        anybody = self.clients.get(ANYBODY, ClientRights())
        return self.clients.get(client, anybody) if client != ANYBODY else anybody

    def may_name(self, credential: str, project: str, workflow: str | None) -> bool:
        """Return True if a project may name a credential in a registered workflow.

        ``None`` is an order that carries its own plan.
        """
        uses = self.credentials.get(credential)
        if self.allows_everything:
            return True
        if uses is None:
            return workflow is not None
        return any(use.fits(project, workflow) for use in uses)

    def first_refused(
        self, credentials: Iterable[str], project: str, workflow: str | None
    ) -> str | None:
        """Return the first credential that a project may not name, if there is one."""
        return next(
            (name for name in sorted(credentials) if not self.may_name(name, project, workflow)),
            None,
        )


def read_policy(file: Path) -> Policy:
    """Read a policy from YAML or JSON. Raises :class:`WorkerError` with place and reason."""
    document = read_document(file, located=True)
    try:
        parsed = msgspec.convert(document.root, _PolicyFile)
    except msgspec.ValidationError as error:
        fail_mismatch(document, error, _PolicyFile)
    # Half of a surrogate pair in a key is no error of validation.
    except UnicodeEncodeError as error:
        raise UsageError(f"{file}: {error}") from error
    return Policy(
        default=parsed.default,
        projects=parsed.projects,
        credentials=parsed.credentials,
        credential_rates=parsed.credential_rates,
        clients=parsed.clients,
    )
