"""The simulated broker's memory in a file, so that the broker outlives the guard.

    {"account": {"login", "server", "balance", "leverage", "margin_mode", ...},
     "positions": [fields of TradePosition, and "margin" of one lot],
     "orders": [fields of TradeOrder],            working ones
     "history": {"orders": [...], "deals": [...]},
     "market": {"name", "time_msc", "wall", "prices", "walks"}}

A person or a program may write it by hand: only a position's `symbol` is
required, and of an order its symbol, a volume, and the price that it waits for.
`market` says at which market time, and when by the caller's clock, the file
was written. Whoever goes on from the file takes the market up at that time and
lets it run on for as long as nobody was there, five minutes of the caller's
clock at most: a stop that was reached meanwhile has triggered, and a recording
put aside overnight has not run out. `walks` is where generated prices came
from: from there they are made again, so that bars and ticks of the past stay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from defence.errors import Invalid
from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition, SimAccount
from terminals.sim.document import Document, GrownLines, lines_of, replace_text
from terminals.sim.mark import NO_ORIGINS, MarketMark, Origins, mark_from
from terminals.sim.market import Price
from terminals.sim.symbols import SymbolSpec
from terminals.sim.working import LIMIT_OF
from terminals.structs import AccountInfo, TradeDeal, TradeOrder, TradePosition, changed

_TOP: Final = ("account", "positions", "orders", "history", "market")
_MODES: Final = {"netting": 0, "exchange": 1, "hedging": 2}
_VOLUMES: Final = (("volume_initial", "volume_current"), ("volume_current", "volume_initial"))
_MAY_WORK: Final = range(mt5.ORDER_TYPE_BUY, mt5.ORDER_TYPE_SELL_STOP_LIMIT + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A state file's content, checked, with what was left out still left out."""

    account: SimAccount
    positions: tuple[Mapping[str, Any], ...]
    orders: tuple[TradeOrder, ...]
    past_orders: tuple[TradeOrder, ...] | None  # None: the file says nothing of the past
    deals: tuple[TradeDeal, ...] | None
    mark: MarketMark | None

    def anchors(self) -> dict[str, float]:
        """Return a price near which each symbol should trade: the mark's, else the positions'."""
        found: dict[str, float] = {}
        for row in self.positions:
            price = row.get("price_current") or row.get("price_open")
            if price:
                found[row["symbol"]] = price
        return {**found, **(self.mark.prices if self.mark is not None else {})}

    def origins(self) -> Origins:
        """Return where prices came from that can be made again as they were."""
        return NO_ORIGINS if self.mark is None else self.mark.origins


class StateFile:
    """The file, and whether somebody else has written it since."""

    def __init__(self, path: Path, specs: Mapping[str, SymbolSpec]) -> None:
        """Only remember; nothing is read yet."""
        self.path = path
        self._specs = specs
        self._signature: tuple[int, int, int] | None = None
        self._past_orders = GrownLines()
        self._deals = GrownLines()

    def changed(self) -> bool:
        """Whether the file is another one than was last read or written here."""
        return self._stat() not in (None, self._signature)

    def read(self) -> Loaded | None:
        """Return the content; None if there is no file. Raises Invalid naming the place."""
        signature = self._stat()
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(
                f"{self.path} cannot be read: {error}", field="sim_state", remedy="check the file"
            ) from error
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Invalid(
                f"{self.path} is not JSON: {error}", field="sim_state", remedy="correct the file"
            ) from error
        loaded = _Reader(self.path, self._specs).read(raw)
        self._signature = signature
        return loaded

    def write(self, book: Book, mark: MarketMark) -> None:
        """Replace the file in one step. Raises OSError if the disk or the folder refuse."""
        past_orders, deals = self._past_orders.text(book.past_orders), self._deals.text(book.deals)
        history = f'{{"orders": {past_orders},\n"deals": {deals}}}'
        replace_text(self.path, _content(book, history, mark))
        self._signature = self._stat()

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _content(book: Book, history: str, mark: MarketMark) -> str:
    """Return the document: what may be long has a line for each row.

    It is written at every change, while the broker waits, so the past is not
    made into JSON each time anew.
    """
    account = {one.name: getattr(book.account, one.name) for one in fields(SimAccount)}
    positions = lines_of(
        {**position_struct(one)._asdict(), "margin": one.margin} for one in book.positions.values()
    )
    orders = lines_of(one._asdict() for one in book.orders.values())
    return (
        f'{{"account": {json.dumps(account, indent=1)},\n'
        f'"positions": {positions},\n'
        f'"orders": {orders},\n'
        f'"history": {history},\n'
        f'"market": {json.dumps(mark.plain(), indent=1)}}}\n'
    )


def position_struct(one: OpenPosition) -> TradePosition:
    """Return a position as the terminal shows it."""
    return TradePosition(
        ticket=one.ticket,
        time=one.time_msc // 1000,
        time_msc=one.time_msc,
        time_update=one.time_update_msc // 1000,
        time_update_msc=one.time_update_msc,
        type=one.type,
        magic=one.magic,
        identifier=one.identifier,
        reason=one.reason,
        volume=one.volume,
        price_open=one.price_open,
        sl=one.sl,
        tp=one.tp,
        price_current=one.price_current,
        swap=one.swap,
        profit=one.profit,
        symbol=one.symbol,
        comment=one.comment,
        external_id=one.external_id,
    )


class _Reader(Document):
    """Reads a state document."""

    def __init__(self, path: Path, specs: Mapping[str, SymbolSpec]) -> None:
        super().__init__(path)
        self._specs = specs

    def read(self, raw: object) -> Loaded:
        if not isinstance(raw, dict):
            self.refuse("$", raw, "is no object", 'write {"account": {...}, "positions": [...]}')
        top = self.mapping("$", raw, _TOP)
        account = self._account(top.get("account"))
        rows = enumerate(self.items("positions", top.get("positions")))
        positions = tuple(self._position(f"positions[{index}]", row) for index, row in rows)
        self._unique(positions, account)
        orders = self._orders(top.get("orders"))
        past = top.get("history")
        history = self.mapping("history", past, ("orders", "deals"))
        past_orders = tuple(self.structs("history.orders", history.get("orders"), TradeOrder))
        deals = tuple(self.structs("history.deals", history.get("deals"), TradeDeal))
        return Loaded(
            account=account,
            positions=positions,
            orders=orders,
            past_orders=None if past is None else past_orders,
            deals=None if past is None else deals,
            mark=mark_from(self, top.get("market"), self._specs),
        )

    def _account(self, value: object) -> SimAccount:
        own = {one.name for one in fields(SimAccount)}
        names = own | set(AccountInfo()._asdict())  # the others follow from these: not read
        given = {k: v for k, v in self.mapping("account", value, names).items() if v is not None}
        account = SimAccount()
        if "margin_mode" in given:
            account.margin_mode = self._mode(given["margin_mode"])
        for name, fewest in (("login", 1), ("leverage", 1), ("limit_orders", 0)):
            if name in given:
                setattr(account, name, self.whole(f"account.{name}", given[name], fewest))
        for name in ("balance", "commission_per_lot", "margin_call_level", "stop_out_level"):
            if name in given:
                least = float("-inf") if name == "balance" else 0.0
                setattr(account, name, self.number(f"account.{name}", given[name], least))
        for name in ("server", "currency", "company", "name"):
            if name in given:
                setattr(account, name, self.text(f"account.{name}", given[name]))
        for name in ("trade_allowed", "trade_expert", "fifo_close", "hedge_prohibited"):
            if name in given:
                setattr(account, name, self.flag(f"account.{name}", given[name]))
        return account

    def _mode(self, value: object) -> int:
        mode = _MODES.get(value.lower()) if isinstance(value, str) else value
        if isinstance(mode, bool) or mode not in (0, 1, 2) or not isinstance(mode, int):
            self.refuse(
                "account.margin_mode",
                value,
                f"{value!r} is no margin mode",
                "0 or netting, 1 or exchange, 2 or hedging",
            )
        return mode

    def _position(self, place: str, row: object) -> Mapping[str, Any]:
        margin = None
        if isinstance(row, dict):  # the one field that the terminal does not show
            margin = row.get("margin")
            row = {name: value for name, value in row.items() if name != "margin"}
        given = self.fields(place, row, TradePosition)
        if margin is not None:
            given["margin"] = self.number(f"{place}.margin", margin, 0.0)
        if "symbol" not in given:
            self.refuse(f"{place}.symbol", None, "is missing", "name the symbol")
        self._symbol(f"{place}.symbol", given["symbol"])
        if given.get("type", 0) not in (mt5.POSITION_TYPE_BUY, mt5.POSITION_TYPE_SELL):
            self.refuse(
                f"{place}.type", given["type"], "is neither 0 (buy) nor 1 (sell)", "mend it"
            )
        for name in ("ticket", "identifier"):
            if name in given:
                self.whole(f"{place}.{name}", given[name], 1)
        for name in ("volume", "price_open"):
            if name in given:
                self._above_0(f"{place}.{name}", given[name])
        for name in ("sl", "tp", "price_current"):
            self.number(f"{place}.{name}", given.get(name, 0.0), 0.0)
        return given

    def _orders(self, value: object) -> tuple[TradeOrder, ...]:
        """Return the working orders; ticket 0 is one that has to be given yet."""
        found: list[TradeOrder] = []
        seen: set[int] = set()
        for index, row in enumerate(self.items("orders", value)):
            place = f"orders[{index}]"
            given = self.fields(place, row, TradeOrder)
            self._symbol(f"{place}.symbol", given.get("symbol", ""))
            if given.get("type", 0) not in _MAY_WORK:
                what = "is no type of a working order"
                self.refuse(f"{place}.type", given["type"], what, "0 to 7")
            if "ticket" in given:
                self.whole(f"{place}.ticket", given["ticket"], 1)
                if given["ticket"] in seen:
                    what = f"{given['ticket']} is there twice"
                    self.refuse(f"{place}.ticket", given["ticket"], what, "correct one of them")
                seen.add(given["ticket"])
            for name, other in _VOLUMES:
                given[name] = given.get(name, given.get(other, 0.0))
                self._above_0(f"{place}.{name}", given[name])
            kind = given.get("type", 0)
            if kind > mt5.ORDER_TYPE_SELL:
                self._above_0(f"{place}.price_open", given.get("price_open", 0.0))
            if kind in LIMIT_OF:
                self._above_0(f"{place}.price_stoplimit", given.get("price_stoplimit", 0.0))
            for name in ("sl", "tp"):
                self.number(f"{place}.{name}", given.get(name, 0.0), 0.0)
            given.setdefault("state", mt5.ORDER_STATE_PLACED)
            found.append(TradeOrder(**given))
        return tuple(found)

    def _above_0(self, place: str, value: float) -> None:
        if value <= 0.0:
            self.refuse(place, value, "is not above 0", "correct the value")

    def _symbol(self, place: str, symbol: str) -> None:
        if symbol not in self._specs:
            known = ", ".join(sorted(self._specs))
            self.refuse(place, symbol, f"{symbol!r} is no symbol of this market", f"it has {known}")

    def _unique(self, rows: tuple[Mapping[str, Any], ...], account: SimAccount) -> None:
        names = ("ticket", "identifier") if account.hedging else ("ticket", "identifier", "symbol")
        for name in names:
            seen: set[object] = set()
            for index, row in enumerate(rows):
                value = row.get(name, row.get("ticket") if name == "identifier" else None)
                if value is not None and value in seen:
                    what = f"{value!r} is there twice"
                    if name == "symbol":
                        what += ", and a netting account has one position a symbol"
                    self.refuse(f"positions[{index}].{name}", value, what, "correct one of them")
                seen.add(value)


def restore(book: Book, loaded: Loaded, broker_price: Mapping[str, Price | None], at: int) -> None:
    """Put a file's content into a book, filling in what was left out, at market time `at` (ms).

    What the file says of the past replaces the book's past; a file that says
    nothing of it leaves it alone.
    """
    book.account = loaded.account
    if loaded.past_orders is not None and loaded.deals is not None:
        book.replace_history(loaded.past_orders, loaded.deals)
    book.orders.clear()
    book.orders.update({one.ticket: one for one in loaded.orders if one.ticket})
    taken = [
        row[name] for row in loaded.positions for name in ("ticket", "identifier") if name in row
    ]
    book.next_ticket = max([book.next_ticket, *(int(one) + 1 for one in taken)])
    book.renumber()
    for order in loaded.orders:
        if not order.ticket:
            placed = {"ticket": book.ticket(), "time_setup": at // 1000, "time_setup_msc": at}
            new = changed(order, **placed)
            book.orders[new.ticket] = new
    book.positions.clear()
    for row in loaded.positions:
        one = _position(book, row, broker_price.get(row["symbol"]), at)
        book.positions[one.ticket] = one
    book.explain(at)


def _position(book: Book, row: Mapping[str, Any], price: Price | None, at_msc: int) -> OpenPosition:
    long = row.get("type", mt5.POSITION_TYPE_BUY) == mt5.POSITION_TYPE_BUY
    quoted = 0.0 if price is None else (price.ask if long else price.bid)
    opened = row.get("price_open") or quoted or 1.0
    ticket = row.get("ticket") or row.get("identifier") or book.ticket()
    time_msc = row.get("time_msc") or row.get("time", 0) * 1000 or at_msc
    updated = row.get("time_update_msc") or row.get("time_update", 0) * 1000 or time_msc
    return OpenPosition(
        ticket=ticket,
        identifier=row.get("identifier") or ticket,
        symbol=row["symbol"],
        type=row.get("type", mt5.POSITION_TYPE_BUY),
        volume=row.get("volume", 0.1),
        price_open=opened,
        time_msc=time_msc,
        time_update_msc=updated,
        sl=row.get("sl", 0.0),
        tp=row.get("tp", 0.0),
        magic=row.get("magic", 0),
        reason=row.get("reason", mt5.POSITION_REASON_CLIENT),
        swap=row.get("swap", 0.0),
        comment=row.get("comment", ""),
        external_id=row.get("external_id", ""),
        price_current=row.get("price_current") or opened,
        profit=row.get("profit", 0.0),
        margin=row.get("margin", 0.0),
        sl_msc=at_msc,
        tp_msc=at_msc,
    )
