"""The Connector's sending of orders: under the lease, once a letter, with an outcome for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors.actor import GuardActor
from actors.messages import RecordOutcome
from actors.names import MONITOR, REGISTRY
from actors.terminal_news import TerminalNews
from defence.broker import Account
from defence.errors import BrokerUnknown
from defence.orders import LATEST, Intent, IntentKind, Outcome, OutcomeKind
from defence.outcomes import CANNOT_ACT
from terminals.lease import Lease, Permit
from terminals.ordering import delete_pending, execute
from terminals.protocol import Terminal
from terminals.reading import SymbolCache, account_check, quote_of

FUTURE: Final = 1.0  # seconds by which a clock that is being adjusted may go back


class Sending:
    """Carries out intents. `terminal` and `account` are those of the moment.

    While `frozen` says why, no order that the guard decides goes out; nor
    after a refusal of `news`, until it is tried again. A person's flatten is
    tried all the same.
    """

    def __init__(
        self,
        owner: GuardActor,
        *,
        terminal: Callable[[], Terminal],
        account: Callable[[], Account | None],
        symbols: SymbolCache,
        news: TerminalNews,
    ) -> None:
        self.frozen: str | None = None
        self._owner = owner
        self._terminal = terminal
        self._account = account
        self._symbols = symbols
        self._news = news

    def execute(self, intent: Intent) -> None:
        """Send a journalled order that the Monitor decided; tell the registry what became of it."""
        owner = self._owner
        context, letter = owner.context, owner.letter
        if letter is not None and letter.attempted:
            # A forerunner died while it sent this. Nobody knows what became of
            # it, so it is not sent again: reconciliation finds out.
            self._tell(self._outcome(intent, OutcomeKind.UNKNOWN, "died while sending"))
            return
        decider = context.lease_of(MONITOR, intent.decided_by)
        age = owner.clock.wall() - intent.decided_at
        refusal = None if self._news.probing else self._news.refusal
        if self.frozen is not None:
            self._tell(self._outcome(intent, OutcomeKind.NOT_SENT, self.frozen))
        elif refusal is not None:
            # The first of a cycle's orders was refused: the others would be as well.
            self._tell(self._outcome(intent, OutcomeKind.NOT_SENT, f"{CANNOT_ACT}: {refusal}"))
        elif decider is None:
            detail = f"fenced: decided by monitor #{intent.decided_by}, which was replaced"
            self._tell(self._outcome(intent, OutcomeKind.NOT_SENT, detail))
        elif not -FUTURE <= age <= LATEST:
            # It waited for a Connector that hung or was being replaced, or the
            # clock was set back and nobody knows how long. The market has moved
            # on; the next cycle decides on what is there now.
            when = f"{age:.0f} s ago" if age > 0 else f"{-age:.0f} s ahead of the clock"
            self._tell(self._outcome(intent, OutcomeKind.NOT_SENT, f"decided {when}"))
        else:
            context.points.reach("connector.before_send")
            if letter is not None:
                letter.attempted = True
            outcome = self._send(intent, context.lease, decider)
            self._news.answered(outcome)
            context.points.reach("connector.after_send")
            self._tell(outcome)

    def for_ops(self, intent: Intent) -> Outcome:
        """Send an order of a flatten, under the Connector's lease alone."""
        account, lease = self._account(), self._owner.context.lease
        if intent.kind is not IntentKind.DELETE_ORDER or account is None:
            return self._send(intent, lease)
        return delete_pending(
            self._terminal(),
            self._permit(account, lease),
            intent.ticket,
            intent_id=intent.id,
            now=self._owner.clock.wall,
        )

    def _send(self, intent: Intent, *leases: Lease) -> Outcome:
        account, terminal = self._account(), self._terminal()
        if account is None:
            return self._outcome(intent, OutcomeKind.NOT_SENT, "not connected to the terminal")
        quote = quote_of(terminal, intent.symbol)
        facts = self._symbols.facts(terminal, intent.symbol, self._owner.clock.wall())
        if quote is None or facts is None:
            return self._outcome(intent, OutcomeKind.NOT_SENT, "no price for the symbol")
        return execute(
            terminal,
            self._permit(account, *leases),
            intent,
            facts=facts,
            quote=quote,
            margin_mode=account.margin_mode,
            now=self._owner.clock.wall,
        )

    def _permit(self, account: Account, *leases: Lease) -> Permit:
        look = account_check(
            self._terminal(), expected_login=account.login, expected_server=account.server
        )

        def check() -> None:
            try:
                look()
            except BrokerUnknown:
                # The facts for this order may have been read from another account's broker.
                self._symbols.forget()
                raise

        return Permit(*leases, check=check)

    def _tell(self, outcome: Outcome) -> None:
        self._owner.tell(REGISTRY, RecordOutcome(outcome))

    def _outcome(self, intent: Intent, kind: OutcomeKind, detail: str) -> Outcome:
        return Outcome(intent_id=intent.id, kind=kind, at=self._owner.clock.wall(), detail=detail)
