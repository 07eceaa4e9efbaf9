"""The child specs of a guard, in the order of their start; stop is its reverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pykka import Future

from actors.actor import Context, GuardActor
from actors.admin import Admin, AdminSettings
from actors.alert import AlertActor, AlertSettings
from actors.connector import ConnectorSettings, MT5Connector
from actors.delivery import deliverer
from actors.messages import SetControl
from actors.monitor import Monitor, MonitorSettings
from actors.names import ADMIN, ALERT, CONNECTOR, MONITOR, RECOVERY, REGISTRY, START_ORDER
from actors.recovery import Recovery, RecoverySettings
from actors.registry import Registry, RegistrySettings
from defence.broker import Account
from defence.plans import ReconcileRules
from defence.rules import Rules
from storage.folder import Stores
from supervisors.settings import Settings
from supervisors.spec import Backoff, ChildSpec
from terminals.protocol import Terminal

VITAL = (CONNECTOR, REGISTRY, RECOVERY, MONITOR)
OTHERS_RESTARTS = 10  # in an hour, for every child but the Monitor, whose budget is a setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the children are given by their guard."""

    stores: Stores
    terminal: Callable[[], Terminal]
    free_terminal: Callable[[], None]  # ends the call that the connector is stuck in
    admit_account: Callable[[Account], None]
    login: Callable[[], int | None]
    shut_down: Callable[[str], None]
    back_up: Callable[[str, Future[Any] | None], None]
    control: SetControl
    since: float  # wall time of the start


def silence_after(settings: Settings) -> float:
    """Return the seconds without a cycle after which the Monitor is dead (DESIGN)."""
    return 2 * settings.cycle_interval + settings.hang_after


def child_specs(settings: Settings, around: Surroundings) -> tuple[ChildSpec, ...]:
    """Return the specs in start order."""
    rules = Rules(quote_stale_after=settings.quote_stale_after)
    reconcile = ReconcileRules(adoption=settings.adopts, policy=rules)
    stores = around.stores

    alert = AlertSettings(
        store=stores.outbox,
        repeat_after=settings.alert_repeat,
        deliver=deliverer([url.get_secret_value() for url in settings.alert_urls]),
    )
    admin = AdminSettings(
        store=stores.audit,
        control=around.control,
        chaos=settings.chaos,
        login=around.login,
        shut_down=around.shut_down,
        back_up=around.back_up,
        since=around.since,
    )
    connector = ConnectorSettings(terminal=around.terminal, admit_account=around.admit_account)
    registry = RegistrySettings(
        store=stores.trades, rules=reconcile, history_days=settings.history_days
    )
    recovery = RecoverySettings(every=settings.reconcile_every)
    monitor = MonitorSettings(
        interval=settings.cycle_interval,
        overdue_after=min(10.0, settings.hang_after),
        rules=rules,
    )

    factories: dict[str, Callable[[Context], GuardActor]] = {
        ALERT: lambda context: AlertActor(context, alert),
        ADMIN: lambda context: Admin(context, admin),
        CONNECTOR: lambda context: MT5Connector(context, connector),
        REGISTRY: lambda context: Registry(context, registry),
        RECOVERY: lambda context: Recovery(context, recovery),
        MONITOR: lambda context: Monitor(context, monitor),
    }
    specs = {
        name: ChildSpec(
            name=name,
            factory=factory,
            vital=name in VITAL,
            max_restarts=OTHERS_RESTARTS,
            backoff=Backoff(first=settings.backoff_first),
            escalation=settings.escalation,
            hang_after=settings.hang_after,
            stop_timeout=settings.stop_timeout,
        )
        for name, factory in factories.items()
    }
    specs[CONNECTOR] = replace(specs[CONNECTOR], release=around.free_terminal)
    specs[MONITOR] = replace(
        specs[MONITOR],
        max_restarts=settings.max_restarts,
        period=settings.restart_period,
        silence_after=silence_after(settings),
    )
    return tuple(specs[name] for name in START_ORDER)
