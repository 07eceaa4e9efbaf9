"""The result types of the MetaTrader5 package: same fields, same order (MT5.md).

The package's own types are C struct sequences: tuples with attributes and
`_asdict()`, but without `_fields`, `_replace` and `_make`, and they do not
pickle. These behave likewise, so that what works on them works there. Every
field has a neutral default, so that a test may name only what it is about.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

S = TypeVar("S", bound="Struct")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Struct(tuple[Any, ...]):
    """A tuple whose places have names: the annotations of the subclass, in order."""

    __slots__ = ()
    n_fields: ClassVar[int] = 0
    n_sequence_fields: ClassVar[int] = 0
    n_unnamed_fields: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        """Turn the annotated fields into read-only places of the tuple."""
        names = tuple(cls.__annotations__)
        cls._names = staticmethod(lambda: names)  # type: ignore[method-assign]
        defaults = {name: cls.__dict__[name] for name in names}
        cls._defaults = staticmethod(lambda: defaults)  # type: ignore[method-assign]
        for index, name in enumerate(names):
            setattr(cls, name, property(itemgetter(index)))
        cls.n_fields = cls.n_sequence_fields = len(names)
        setattr(cls, "__match_args__", names)  # noqa: B010 - mypy wants it written out in the class
        # As in the package: no module to find the type by, so that pickling fails here too.
        cls.__module__ = "builtins"

    @staticmethod
    def _names() -> tuple[str, ...]:
        return ()

    @staticmethod
    def _defaults() -> dict[str, Any]:
        return {}

    def __new__(cls, sequence: tuple[Any, ...] | None = None, /, **values: Any) -> Self:
        """Build from keywords; what is left out gets the neutral default.

        Raises TypeError for a name that is no field or a sequence of another length.
        """
        names = cls._names()
        if sequence is not None:
            if len(sequence) != len(names):
                takes = f"{len(names)}-sequence ({len(sequence)}-sequence given)"
                raise TypeError(f"{cls.__name__}() takes a {takes}")
            return super().__new__(cls, sequence)
        row = {**cls._defaults(), **values}  # in the order of the fields
        if len(row) != len(names):
            unknown = sorted(row.keys() - set(names))
            raise TypeError(f"{cls.__name__} has no field {', '.join(unknown)}")
        return super().__new__(cls, row.values())

    def _asdict(self) -> dict[str, Any]:
        """Return the fields by name; a nested struct stays a struct."""
        return dict(zip(self._names(), self, strict=True))

    def __repr__(self) -> str:
        """Return `TypeName(field=value, ...)`."""
        fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({fields})"


def changed(row: S, **values: Any) -> S:
    """Return a row with other values in some fields; the package's own types have no `_replace`."""
    return type(row)(**{**row._asdict(), **values})


class TradePosition(Struct):
    """An open position. `time*` are broker wall time; `identifier` never changes, `ticket` may."""

    __slots__ = ()
    ticket: int = 0
    time: int = 0
    time_msc: int = 0
    time_update: int = 0
    time_update_msc: int = 0
    type: int = 0
    magic: int = 0
    identifier: int = 0
    reason: int = 0
    volume: float = 0.0
    price_open: float = 0.0
    sl: float = 0.0
    tp: float = 0.0
    price_current: float = 0.0
    swap: float = 0.0
    profit: float = 0.0
    symbol: str = ""
    comment: str = ""
    external_id: str = ""


class TradeOrder(Struct):
    """A working or a historical order."""

    __slots__ = ()
    ticket: int = 0
    time_setup: int = 0
    time_setup_msc: int = 0
    time_done: int = 0
    time_done_msc: int = 0
    time_expiration: int = 0
    type: int = 0
    type_time: int = 0
    type_filling: int = 0
    state: int = 0
    magic: int = 0
    position_id: int = 0
    position_by_id: int = 0
    reason: int = 0
    volume_initial: float = 0.0
    volume_current: float = 0.0
    price_open: float = 0.0
    sl: float = 0.0
    tp: float = 0.0
    price_current: float = 0.0
    price_stoplimit: float = 0.0
    symbol: str = ""
    comment: str = ""
    external_id: str = ""


class TradeDeal(Struct):
    """A deal of the account's history; money in the account's currency."""

    __slots__ = ()
    ticket: int = 0
    order: int = 0
    time: int = 0
    time_msc: int = 0
    type: int = 0
    entry: int = 0
    magic: int = 0
    position_id: int = 0
    reason: int = 0
    volume: float = 0.0
    price: float = 0.0
    commission: float = 0.0
    swap: float = 0.0
    profit: float = 0.0
    fee: float = 0.0
    symbol: str = ""
    comment: str = ""
    external_id: str = ""


class TradeRequest(Struct):
    """A request as the terminal understood it."""

    __slots__ = ()
    action: int = 0
    magic: int = 0
    order: int = 0
    symbol: str = ""
    volume: float = 0.0
    price: float = 0.0
    stoplimit: float = 0.0
    sl: float = 0.0
    tp: float = 0.0
    deviation: int = 0
    type: int = 0
    type_filling: int = 0
    type_time: int = 0
    expiration: int = 0
    comment: str = ""
    position: int = 0
    position_by: int = 0


class OrderSendResult(Struct):
    """What became of `order_send`; `retcode` is the trade server's answer."""

    __slots__ = ()
    retcode: int = 0
    deal: int = 0
    order: int = 0
    volume: float = 0.0
    price: float = 0.0
    bid: float = 0.0
    ask: float = 0.0
    comment: str = ""
    request_id: int = 0
    retcode_external: int = 0
    request: TradeRequest = TradeRequest()


class OrderCheckResult(Struct):
    """What `order_check` found; `retcode` 0 is success here."""

    __slots__ = ()
    retcode: int = 0
    balance: float = 0.0
    equity: float = 0.0
    profit: float = 0.0
    margin: float = 0.0
    margin_free: float = 0.0
    margin_level: float = 0.0
    comment: str = ""
    request: TradeRequest = TradeRequest()


class Tick(Struct):
    """The newest quote of a symbol."""

    __slots__ = ()
    time: int = 0
    bid: float = 0.0
    ask: float = 0.0
    last: float = 0.0
    volume: int = 0
    time_msc: int = 0
    flags: int = 0
    volume_real: float = 0.0


class TerminalInfo(Struct):
    """The terminal's own switches and places."""

    __slots__ = ()
    community_account: bool = False
    community_connection: bool = False
    connected: bool = False
    dlls_allowed: bool = False
    trade_allowed: bool = False
    tradeapi_disabled: bool = False
    email_enabled: bool = False
    ftp_enabled: bool = False
    notifications_enabled: bool = False
    mqid: bool = False
    build: int = 0
    maxbars: int = 0
    codepage: int = 0
    ping_last: int = 0
    community_balance: float = 0.0
    retransmission: float = 0.0
    company: str = ""
    name: str = ""
    language: str = ""
    path: str = ""
    data_path: str = ""
    commondata_path: str = ""


class BookInfo(Struct):
    """One level of the depth of market."""

    __slots__ = ()
    type: int = 0
    price: float = 0.0
    volume: int = 0
    volume_dbl: float = 0.0


class SymbolInfo(Struct):
    """Everything the broker says of a symbol."""

    __slots__ = ()
    custom: bool = False
    chart_mode: int = 0
    select: bool = False
    visible: bool = False
    session_deals: int = 0
    session_buy_orders: int = 0
    session_sell_orders: int = 0
    volume: int = 0
    volumehigh: int = 0
    volumelow: int = 0
    time: int = 0
    digits: int = 0
    spread: int = 0
    spread_float: bool = False
    ticks_bookdepth: int = 0
    trade_calc_mode: int = 0
    trade_mode: int = 0
    start_time: int = 0
    expiration_time: int = 0
    trade_stops_level: int = 0
    trade_freeze_level: int = 0
    trade_exemode: int = 0
    swap_mode: int = 0
    swap_rollover3days: int = 0
    margin_hedged_use_leg: bool = False
    expiration_mode: int = 0
    filling_mode: int = 0
    order_mode: int = 0
    order_gtc_mode: int = 0
    option_mode: int = 0
    option_right: int = 0
    bid: float = 0.0
    bidhigh: float = 0.0
    bidlow: float = 0.0
    ask: float = 0.0
    askhigh: float = 0.0
    asklow: float = 0.0
    last: float = 0.0
    lasthigh: float = 0.0
    lastlow: float = 0.0
    volume_real: float = 0.0
    volumehigh_real: float = 0.0
    volumelow_real: float = 0.0
    option_strike: float = 0.0
    point: float = 0.0
    trade_tick_value: float = 0.0
    trade_tick_value_profit: float = 0.0
    trade_tick_value_loss: float = 0.0
    trade_tick_size: float = 0.0
    trade_contract_size: float = 0.0
    trade_accrued_interest: float = 0.0
    trade_face_value: float = 0.0
    trade_liquidity_rate: float = 0.0
    volume_min: float = 0.0
    volume_max: float = 0.0
    volume_step: float = 0.0
    volume_limit: float = 0.0
    swap_long: float = 0.0
    swap_short: float = 0.0
    margin_initial: float = 0.0
    margin_maintenance: float = 0.0
    session_volume: float = 0.0
    session_turnover: float = 0.0
    session_interest: float = 0.0
    session_buy_orders_volume: float = 0.0
    session_sell_orders_volume: float = 0.0
    session_open: float = 0.0
    session_close: float = 0.0
    session_aw: float = 0.0
    session_price_settlement: float = 0.0
    session_price_limit_min: float = 0.0
    session_price_limit_max: float = 0.0
    margin_hedged: float = 0.0
    price_change: float = 0.0
    price_volatility: float = 0.0
    price_theoretical: float = 0.0
    price_greeks_delta: float = 0.0
    price_greeks_theta: float = 0.0
    price_greeks_gamma: float = 0.0
    price_greeks_vega: float = 0.0
    price_greeks_rho: float = 0.0
    price_greeks_omega: float = 0.0
    price_sensitivity: float = 0.0
    basis: str = ""
    category: str = ""
    currency_base: str = ""
    currency_profit: str = ""
    currency_margin: str = ""
    bank: str = ""
    description: str = ""
    exchange: str = ""
    formula: str = ""
    isin: str = ""
    name: str = ""
    page: str = ""
    path: str = ""


class AccountInfo(Struct):
    """The account; money in its currency."""

    __slots__ = ()
    login: int = 0
    trade_mode: int = 0
    leverage: int = 0
    limit_orders: int = 0
    margin_so_mode: int = 0
    trade_allowed: bool = False
    trade_expert: bool = False
    margin_mode: int = 0
    currency_digits: int = 0
    fifo_close: bool = False
    balance: float = 0.0
    credit: float = 0.0
    profit: float = 0.0
    equity: float = 0.0
    margin: float = 0.0
    margin_free: float = 0.0
    margin_level: float = 0.0
    margin_so_call: float = 0.0
    margin_so_so: float = 0.0
    margin_initial: float = 0.0
    margin_maintenance: float = 0.0
    assets: float = 0.0
    liabilities: float = 0.0
    commission_blocked: float = 0.0
    name: str = ""
    server: str = ""
    currency: str = ""
    company: str = ""
