"""Handlers of the requests that deploy workflows, and that query what is deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import Connection

from worker.compiler.syntax import check_expression
from worker.core.compile_plan import compile_plan
from worker.errors import LoadError, PlanError, UsageError
from worker.fleet.control.audit_log import record_action
from worker.fleet.control.inline_secrets import SecretRefused
from worker.fleet.control.policy import Policy
from worker.fleet.control.store import deployments as rows
from worker.fleet.control.store.deployments import DeploymentRow, LiveTrigger, VersionRow
from worker.fleet.control.triggers.cron_schedule import next_tick
from worker.fleet.control.triggers.dead_letters import list_dead_letters
from worker.fleet.control.triggers.validation import TriggerError, check_trigger, cycle_of
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.control.views import plan_without_secrets
from worker.fleet.control.workflow_registry import RegisteredWorkflow, WorkflowRegistry, read_plan
from worker.fleet.messaging import trigger_messages as wire
from worker.fleet.messaging.trigger_messages import CronTrigger, MqttTrigger, WebhookTrigger
from worker.workflow.documents.data import did_you_mean
from worker.workflow.load import load

_decode_triggers = msgspec.json.Decoder[tuple[wire.Trigger, ...]](tuple[wire.Trigger, ...]).decode
_decode_names = msgspec.json.Decoder[list[str]](list[str]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A workflow that may be deployed, after all checks of its own."""

    workflow: RegisteredWorkflow
    plan: str
    triggers: tuple[wire.Trigger, ...]

    @property
    def version(self) -> str:
        content = self.workflow.plan_id.encode() + msgspec.json.encode(self.triggers)
        return hashlib.sha256(content).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRules:
    """Rules of a control plane for webhooks.

    ``auth_methods`` are the names of the methods of authentication that they can name; with
    ``needs_auth`` each has to name one.
    """

    auth_methods: frozenset[str] = frozenset()
    needs_auth: bool = False


class DeploymentHandler:
    """The handlers of deployments, with what they depend on."""

    def __init__(
        self,
        policy: Policy,
        registry: WorkflowRegistry,
        rules: DeploymentRules,
    ) -> None:
        self._policy = policy
        self._registry = registry
        self._rules = rules
        self.methods: dict[str, Callable[[UnitOfWork, Any], Any]] = {
            "deploy": self.deploy,
            "rollback": self.rollback,
            "deployments": list_deployments,
            "workflow": show_workflow,
            "workflow_history": list_history,
            "workflow_version": self.show_version,
            "dead_letters": list_dead_letters,
        }

    def deploy(self, uow: UnitOfWork, request: wire.Deploy) -> Any:
        """Deploy all workflows of a request; return the version of each."""
        if not request.workflows:
            raise RequestError("invalid", "the project has no workflow to deploy")
        # All are checked before the first is written: a request that fails changes nothing.
        candidates = [self._check(uow, request.project, each) for each in request.workflows]
        _check_distinct([candidate.workflow.name for candidate in candidates])
        self._check_paths(uow, request.project, candidates)
        self._check_replies(uow, request.project, candidates)
        return [
            self._make_present(uow, request.project, candidate, "deploy")
            for candidate in candidates
        ]

    def rollback(self, uow: UnitOfWork, request: wire.Rollback) -> Any:
        """Deploy an earlier version of a workflow again."""
        connection = uow.transaction.connection
        present = _present(uow, request)
        version = request.version or _version_before(uow, present)
        row = rows.version(connection, request.project, request.name, version)
        if row is None:
            raise RequestError("unknown", _no_version(request.name, version))
        # The policy, the files of the control plane and other paths may have changed since.
        workflow = registered(row)
        self._check_name(row.name)
        self._check_credentials(request.project, workflow)
        triggers = _decode_triggers(row.triggers)
        candidate = _Candidate(workflow=workflow, plan=row.plan, triggers=triggers)
        self._check_triggers(uow, request.project, candidate)
        self._check_paths(uow, request.project, [candidate])
        self._check_replies(uow, request.project, [candidate])
        deployment = _next(uow, present, row.version, "rollback")
        return self._switch(uow, deployment, triggers)

    def show_version(self, uow: UnitOfWork, request: wire.VersionRef) -> Any:
        """Show the plan of a version, without secrets: of a deployed one, or of --workflows."""
        connection = uow.transaction.connection
        workflow, version = self._registry.workflows.get(request.name), request.version
        if workflow is None:
            version = version or _present(uow, request).version
            row = rows.version(connection, request.project, request.name, version)
            workflow, version = (None, "") if row is None else (registered(row), row.version)
        elif workflow.plan_id.startswith(version):
            version = workflow.plan_id
        else:
            workflow = None
        if workflow is None:
            raise RequestError("unknown", _no_version(request.name, request.version))
        plan = plan_without_secrets(workflow.plan)
        return {"name": request.name, "project": request.project, "version": version, "plan": plan}

    # --- checks -----------------------------------------------------------------------------------

    def _check(self, uow: UnitOfWork, project: str, requested: wire.WorkflowVersion) -> _Candidate:
        try:
            workflow = read_plan(bytes(requested.plan))
            compile_plan(load(msgspec.json.decode(workflow.plan)))
        except (LoadError, PlanError) as error:
            raise RequestError("invalid", f"a workflow cannot be deployed: {error}") from error
        self._check_name(workflow.name)
        self._check_credentials(project, workflow)
        try:
            plan = uow.secrets.seal_plan(workflow.plan)
        except SecretRefused as error:
            raise RequestError("invalid", f"'{workflow.name}': {error}") from error
        candidate = _Candidate(workflow=workflow, plan=plan, triggers=requested.triggers)
        self._check_triggers(uow, project, candidate)
        return candidate

    def _check_name(self, name: str) -> None:
        if place := self._registry.place_of(name):
            raise RequestError(
                "conflict",
                f"the name '{name}' is taken by --workflows ({place}): a name comes from one "
                "place, so remove the file there, or deploy the workflow under another name",
            )

    def _check_credentials(self, project: str, workflow: RegisteredWorkflow) -> None:
        for credential in sorted(workflow.credentials):
            if not self._policy.may_name(credential, project, workflow.name):
                raise RequestError(
                    "denied",
                    f"the project '{project}' may not name the credential '{credential[:100]}' in "
                    f"'{workflow.name}' (policy: credentials)",
                )

    def _check_triggers(self, uow: UnitOfWork, project: str, candidate: _Candidate) -> None:
        triggers = candidate.triggers
        document = msgspec.json.decode(candidate.workflow.plan)
        steps = {step.get("id", "") for step in document["workflow"]["steps"]}
        for trigger in triggers:
            where = f"trigger '{trigger.name[:100]}' of '{candidate.workflow.name}'"
            try:
                self._check_auth(trigger)
                self._check_states(project, trigger)
                check_trigger(
                    trigger, uow.topics, steps=steps, auth_methods=self._rules.auth_methods
                )
                if isinstance(trigger, MqttTrigger) and trigger.filter:
                    check_expression(trigger.filter)
            except (TriggerError, PlanError) as error:
                raise RequestError("invalid", f"{where}: {error}") from error
        names = [trigger.name for trigger in triggers]
        if len(set(names)) != len(names):
            raise RequestError(
                "invalid", f"two triggers of '{candidate.workflow.name}' have the same name"
            )

    def _check_auth(self, trigger: wire.Trigger) -> None:
        if not isinstance(trigger, WebhookTrigger) or trigger.auth or not trigger.enabled:
            return
        if self._rules.needs_auth:
            raise TriggerError(
                "the trigger has no authentication (auth), and the webhooks of this control plane "
                "listen on an address that is not loopback (--open-webhooks allows that)"
            )

    def _check_states(self, project: str, trigger: wire.Trigger) -> None:
        """Refuse a trigger that reads what runs leave where the project does not store that."""
        limits = self._policy.of(project)
        stores = limits.keep_data == "all" and limits.output_dataclips
        if trigger.enabled and not stores and (reader := _reader_of_states(trigger)):
            raise TriggerError(
                f"{reader} needs the states of runs, and the policy of the project '{project}' does"
                f" not store them (keep_data: {limits.keep_data}, output_dataclips: "
                f"{str(limits.output_dataclips).lower()}; expected all and true)"
            )

    def _check_paths(self, uow: UnitOfWork, project: str, candidates: Sequence[_Candidate]) -> None:
        """Refuse a path of two webhooks: a call would start one of them by chance."""
        replaced = {(project, candidate.workflow.name) for candidate in candidates}
        taken = {
            trigger.definition.path: f"'{trigger.workflow}' of project '{trigger.project}'"
            for trigger in rows.live_triggers(uow.transaction.connection, ("webhook",))
            if isinstance(trigger.definition, WebhookTrigger)
            and (trigger.project, trigger.workflow) not in replaced
        }
        for candidate in candidates:
            for trigger in candidate.triggers:
                if not isinstance(trigger, WebhookTrigger) or not trigger.enabled:
                    continue
                if owner := taken.get(trigger.path):
                    raise RequestError(
                        "conflict",
                        f"trigger '{trigger.name}' of '{candidate.workflow.name}': the path "
                        f"/i/{trigger.path} belongs to {owner}",
                    )
                taken[trigger.path] = f"'{candidate.workflow.name}' of project '{project}'"

    def _check_replies(
        self, uow: UnitOfWork, project: str, candidates: Sequence[_Candidate]
    ) -> None:
        """Refuse triggers whose replies are messages for them: there would be orders for ever."""
        replaced = {(project, candidate.workflow.name) for candidate in candidates}
        own = {
            _full_name(project, candidate.workflow.name, trigger): trigger
            for candidate in candidates
            for trigger in candidate.triggers
            if isinstance(trigger, MqttTrigger) and trigger.enabled
        }
        others = {
            _full_name(row.project, row.workflow, row.definition): row.definition
            for row in rows.live_triggers(uow.transaction.connection, ("mqtt",))
            if isinstance(row.definition, MqttTrigger)
            and (row.project, row.workflow) not in replaced
        }
        # A cycle among others alone must not keep this project from being deployed.
        if cycle := cycle_of(own | others, starts=own):
            raise RequestError(
                "invalid",
                f"the replies of {', of '.join(cycle)} would start workflows for ever: a reply is "
                "on a topic that a trigger among them receives",
            )

    # --- changes ----------------------------------------------------------------------------------

    def _make_present(
        self, uow: UnitOfWork, project: str, candidate: _Candidate, action: str
    ) -> dict[str, Any]:
        connection, name = uow.transaction.connection, candidate.workflow.name
        row = VersionRow(
            project=project,
            name=name,
            version=candidate.version,
            plan_id=candidate.workflow.plan_id,
            plan=candidate.plan,
            credentials=msgspec.json.encode(sorted(candidate.workflow.credentials)).decode(),
            triggers=msgspec.json.encode(candidate.triggers).decode(),
        )
        present = rows.present_deployment(connection, project, name)
        if present is not None and present.version == row.version:
            return {"name": name, "version": row.version, "changed": False}
        rows.add_version(connection, row)
        first = DeploymentRow(
            project=project, name=name, number=0, version="", action="", client="", at=0
        )
        deployment = _next(uow, present or first, row.version, action)
        return self._switch(uow, deployment, candidate.triggers)

    def _switch(
        self, uow: UnitOfWork, deployment: DeploymentRow, triggers: Sequence[wire.Trigger]
    ) -> dict[str, Any]:
        """Make a deployment the present one, and its triggers live."""
        connection = uow.transaction.connection
        project, name = deployment.project, deployment.name
        rows.add_deployment(connection, deployment)
        before = {row.id: row for row in rows.triggers_of(connection, project, name)}
        for trigger in triggers:
            id = rows.trigger_id(project, name, trigger.name)
            row = LiveTrigger(
                id=id, project=project, workflow=name, live=trigger.enabled, definition=trigger
            )
            tick = _first_tick(trigger, before.pop(id, None), uow.now_us)
            rows.put_trigger(connection, replace(row, next_tick=tick))
        rows.silence(connection, before)
        action, version = deployment.action, deployment.version
        record_action(uow, action, project=project, subject=name, detail=version)
        uow.outgoing.deployed = True
        return {"name": name, "version": version, "changed": True}


def _full_name(project: str, workflow: str, trigger: wire.Trigger) -> str:
    return f"trigger '{trigger.name[:100]}' of '{workflow}' (project '{project}')"


def _reader_of_states(trigger: wire.Trigger) -> str:
    """Return which field of a trigger makes it read states of runs; empty where none does."""
    match trigger:
        case WebhookTrigger(reply="after_completion"):
            return "webhook_reply: after_completion"
        case MqttTrigger(reply="after_completion"):
            return "reply: after_completion"
        case CronTrigger(cursor_job=job) if job:
            return "cron_cursor_job_id"
        case _:
            return ""


def _first_tick(trigger: wire.Trigger, before: LiveTrigger | None, now_us: int) -> int | None:
    if not isinstance(trigger, CronTrigger) or not trigger.enabled:
        return None
    # A new version with the same schedule must not lose the tick that is due right now.
    if before is not None and before.live and isinstance(before.definition, CronTrigger):
        same = (before.definition.expression, before.definition.timezone)
        if same == (trigger.expression, trigger.timezone):
            return before.next_tick
    return next_tick(trigger, now_us)


def _next(uow: UnitOfWork, present: DeploymentRow, version: str, action: str) -> DeploymentRow:
    return replace(
        present,
        number=present.number + 1,
        version=version,
        action=action,
        client=uow.client,
        at=uow.now_us,
    )


def _present(uow: UnitOfWork, ref: wire.WorkflowRef) -> DeploymentRow:
    row = rows.present_deployment(uow.transaction.connection, ref.project, ref.name)
    if row is None:
        deployed = rows.deployed_names(uow.transaction.connection, [ref.project])
        hint = did_you_mean(ref.name, deployed) or " (those of --workflows have no versions)"
        raise RequestError(
            "unknown", f"no workflow '{ref.name}' is deployed in project '{ref.project}'{hint}"
        )
    return row


def _version_before(uow: UnitOfWork, present: DeploymentRow) -> str:
    earlier = rows.history(uow.transaction.connection, present.project, present.name)
    version = next((row.version for row in earlier if row.version != present.version), "")
    if not version:
        raise RequestError("conflict", f"'{present.name}' has no version before this one")
    return version


def _check_distinct(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise RequestError("invalid", f"two workflows of the project are named '{name}'")


def check_registry(connection: Connection, registry: WorkflowRegistry) -> None:
    """Check that no workflow of files is deployed too. Raises :class:`UsageError`."""
    for name in sorted(rows.deployed_names(connection)):
        if place := registry.place_of(name):
            raise UsageError(
                f"the workflow '{name}' is deployed, and --workflows has it too ({place}): a name "
                "comes from one place, so remove the file, or give one of them another name"
            )


def _no_version(name: str, version: str) -> str:
    return (
        f"'{name}' has no version that begins with {version} (worker workflows history lists them)"
    )


def check_webhooks(connection: Connection) -> None:
    """Check that all live webhooks have authentication. Raises :class:`UsageError`."""
    for trigger in rows.live_triggers(connection, ("webhook",)):
        if isinstance(trigger.definition, WebhookTrigger) and not trigger.definition.auth:
            raise UsageError(
                f"the webhook /i/{trigger.definition.path} of '{trigger.workflow}' has no "
                "authentication: --webhooks on an address that is not loopback needs "
                "--open-webhooks, or auth for the trigger"
            )


# --- queries --------------------------------------------------------------------------------------


def registered(row: VersionRow) -> RegisteredWorkflow:
    """Return a deployed version as a workflow that orders can run; its plan is sealed."""
    return RegisteredWorkflow(
        name=row.name,
        plan_id=row.plan_id,
        plan=row.plan,
        credentials=frozenset(_decode_names(row.credentials)),
        sealed=True,
    )


def present_workflow(uow: UnitOfWork, project: str, name: str) -> RegisteredWorkflow | None:
    """Return the present version of a deployed workflow, or ``None``."""
    key = project, name
    if key not in uow.deployed:
        version = rows.present_version(uow.transaction.connection, project, name)
        uow.deployed[key] = (version and _version(uow, project, name, version)) or None
    return uow.deployed[key]


def _version(uow: UnitOfWork, project: str, name: str, version: str) -> RegisteredWorkflow | None:
    def read() -> RegisteredWorkflow | None:
        row = rows.version(uow.transaction.connection, project, name, version)
        return None if row is None else registered(row)

    return uow.versions.get((project, name, version), read)


def list_deployments(uow: UnitOfWork, query: wire.DeploymentQuery) -> Any:
    """List the deployed workflows with their triggers."""
    connection = uow.transaction.connection
    return [
        {**_deployment_view(row), "triggers": list(_trigger_views(uow, row))}
        for row in rows.present_deployments(connection, query.project)
    ]


def show_workflow(uow: UnitOfWork, ref: wire.WorkflowRef) -> Any:
    """Show a deployed workflow with its triggers."""
    row = _present(uow, ref)
    return {**_deployment_view(row), "triggers": list(_trigger_views(uow, row))}


def list_history(uow: UnitOfWork, ref: wire.WorkflowRef) -> Any:
    """List the deployments of a workflow, newest first."""
    _present(uow, ref)
    deployments = rows.history(uow.transaction.connection, ref.project, ref.name)
    return [_deployment_view(row) for row in deployments]


def _deployment_view(row: DeploymentRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def _trigger_views(uow: UnitOfWork, row: DeploymentRow) -> Iterator[dict[str, Any]]:
    for trigger in rows.triggers_of(uow.transaction.connection, row.project, row.name):
        yield {
            "id": trigger.id,
            "live": trigger.live,
            "fired": trigger.fired,
            "last_fired": trigger.last_fired,
            "next_tick": trigger.next_tick,
            **msgspec.to_builtins(trigger.definition),
        }
