"""The simulated broker's memory in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from terminal_kit import START, Clock, books_balance, generated, order, playing, recorded

from defence.errors import Invalid
from terminals import GeneratedMarket, SimulatedTerminal
from terminals import constants as mt5
from terminals.sim.conditions import Conditions
from terminals.structs import TradePosition

ROWS = {"EURUSD": [(at, 1.1, 1.1001) for at in range(0, 600, 10)]}
ROWS["EURUSD"] += [(600, 1.08, 1.0801), (1200, 1.08, 1.0801), (9000, 1.09, 1.0901)]


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.json"


def test_round_trip(path: Path) -> None:
    terminal, clock = playing(ROWS, state=path)
    kept = terminal.open_position("EURUSD", "BUY", 0.3, sl=1.05, tp=1.3, magic=4, comment="keep")
    gone = terminal.open_position("EURUSD", "SELL", 0.2)
    terminal.order_send(order(action=5, type=2, price=1.01))
    clock.at += 30
    terminal.close_position(gone)
    terminal.close_position(kept, 0.1)
    terminal.change_ticket(kept, 777)
    before = [
        terminal.positions_get(),
        terminal.orders_get(),
        terminal.history_deals_get(0, 4e9),
        terminal.history_orders_get(0, 4e9),
        terminal.account_info(),
    ]
    # No farewell: the file is up to date after every change, as if the process had been killed.
    again = generated(market=recorded(ROWS), now=clock, state=path)
    after = [
        again.positions_get(),
        again.orders_get(),
        again.history_deals_get(0, 4e9),
        again.history_orders_get(0, 4e9),
        again.account_info(),
    ]
    assert after == before
    books_balance(again)
    fresh = again.open_position("EURUSD", "BUY", 0.1)
    assert fresh not in {one.ticket for one in after[2] or ()}


def test_an_order_is_in_the_file_when_it_is_answered(path: Path) -> None:
    terminal, _ = playing(ROWS, state=path)
    terminal.order_send(order())
    assert len(json.loads(path.read_text())["positions"]) == 1


def test_shape_of_the_file(path: Path) -> None:
    terminal, _ = playing(ROWS, state=path)
    terminal.open_position("EURUSD", "BUY", 0.3)
    content = json.loads(path.read_text())
    past = content["history"]
    rows = [*content["positions"], *past["orders"], *past["deals"]]
    lines = path.read_text().splitlines()  # a person finds each row on a line of its own
    assert [json.loads(one.rstrip(",")) for one in lines if '"magic"' in one] == rows
    assert len(rows) == 4
    assert {"login", "server", "balance", "leverage", "margin_mode"} <= set(content["account"])
    assert list(content["positions"][0]) == [*TradePosition()._asdict(), "margin"]
    assert [one.name for one in path.parent.iterdir()] == [path.name]  # no drafts left


def test_the_margin_of_the_opening_is_kept(path: Path) -> None:
    terminal, clock = playing(ROWS, state=path)
    ticket = terminal.open_position("EURUSD", "BUY", 0.3)
    terminal._broker.book.positions[ticket].margin = 777.0  # as another rate would have made it
    terminal.close_position(ticket, 0.1)
    account = generated(market=recorded(ROWS), now=clock, state=path).account_info()
    assert account is not None
    assert account.margin == 155.4


def test_a_position_written_by_hand_takes_the_margin_of_its_open_price(path: Path) -> None:
    one = {"symbol": "EURUSD", "volume": 0.1, "price_open": 1.05}
    path.write_text(json.dumps({"positions": [one, {**one, "margin": 500.0}]}))
    account = playing(ROWS, state=path)[0].account_info()
    assert account is not None
    assert account.margin == 105.0 + 50.0


def test_the_rest_of_an_order_and_its_life_survive(path: Path) -> None:
    facts = {"depth": 0.1, "execution": 3}
    conditions = Conditions(depth=True)
    terminal, clock = playing(ROWS, state=path, specs=facts, conditions=conditions)
    done = terminal.order_send(order(volume=0.3, type_filling=2))
    until = int(START) + 5_000
    placed = terminal.order_send(
        order(action=5, type=2, price=1.0, type_filling=2, type_time=2, expiration=until)
    )
    assert done is not None
    assert placed is not None
    assert (done.retcode, placed.retcode) == (10010, 10009)
    before = terminal.orders_get()
    market = recorded(ROWS, **facts)
    again = generated(market=market, now=clock, state=path, conditions=conditions)
    assert again.orders_get() == before
    clock.at += 5_000
    assert again.orders_get() == ()
    assert [one.volume for one in again.history_deals_get(ticket=done.order) or ()] == [0.1] * 3
    (past,) = again.history_orders_get(ticket=placed.order) or ()
    assert (past.state, past.time_done) == (mt5.ORDER_STATE_EXPIRED, until)
    books_balance(again)


def test_a_stop_reached_while_nobody_was_there_has_triggered(path: Path) -> None:
    terminal, clock = playing(ROWS, state=path, speed=10.0)
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.09)
    clock.at += 70  # the process is gone for 70 s: 700 s of market
    again = generated(market=recorded(ROWS), now=clock, state=path, speed=10.0)
    assert again.positions_get() == ()
    closed = (again.history_deals_get(position=ticket) or ())[-1]
    assert (closed.price, closed.reason) == (1.08, mt5.DEAL_REASON_SL)
    assert closed.time_msc == round((START + 600) * 1000)


def test_a_recording_put_aside_overnight_has_not_run_out(path: Path) -> None:
    terminal, clock = playing(ROWS, state=path)
    terminal.open_position("EURUSD", "BUY", 0.1, sl=1.09)
    clock.at += 50_000
    again = generated(market=recorded(ROWS), now=clock, state=path)
    assert again.market_time == START + 300
    assert not again.over


def test_a_recording_that_was_over_stays_over(path: Path) -> None:
    terminal, clock = playing(ROWS, state=path)
    terminal.open_position("EURUSD", "BUY", 0.1)
    clock.at += 20_000
    terminal.positions_get()
    assert terminal.over
    terminal.close()
    again = generated(market=recorded(ROWS), now=clock, state=path)
    assert again.over
    assert again.market_time == START + 9000


def test_as_fast_as_possible_goes_on_where_it_was(path: Path) -> None:
    terminal, clock = playing(ROWS, state=path, speed=0.0)
    for _ in range(4):
        terminal.positions_get()
    terminal.close()
    clock.at += 1e6
    again = generated(market=recorded(ROWS), now=clock, state=path, speed=0.0)
    assert again.market_time == START + 120


def test_generated_prices_go_on_near_where_they_were(path: Path) -> None:
    clock = Clock()
    terminal = generated(market=GeneratedMarket(1, START), now=clock, state=path, demo=True)
    clock.at += 36_000
    terminal.positions_get()
    terminal.open_position("XAUUSD", "BUY", 0.01)
    tickets = {one.ticket for one in terminal.positions_get() or ()}
    last = {symbol: terminal.symbol_info_tick(symbol) for symbol in terminal.market.specs}
    again = generated(market=GeneratedMarket(2, clock.at), now=clock, state=path, demo=True)
    assert again.market_time == terminal.market_time
    for symbol, tick in last.items():
        now = again.symbol_info_tick(symbol)
        assert now is not None
        assert tick is not None
        assert now.bid == pytest.approx(tick.bid, rel=5e-4)
    assert tickets == {one.ticket for one in again.positions_get() or ()}  # no second demo


def test_a_hand_written_file_needs_little(path: Path) -> None:
    written(
        path,
        {
            "account": {
                "login": 7,
                "server": "S",
                "balance": 500,
                "leverage": 30,
                "margin_mode": 2,
            },
            "positions": [
                {"symbol": "EURUSD", "ticket": 11, "price_open": 1.5, "sl": 1.49, "type": 0},
                {"symbol": "GBPUSD"},
            ],
        },
    )
    terminal = generated(state=path)
    account = terminal.account_info()
    assert account is not None
    assert (account.login, account.server, account.balance, account.leverage) == (7, "S", 500.0, 30)
    first, second = terminal.positions_get() or ()
    # The generated market trades where the position is, so its stop is not hit at once.
    assert (first.ticket, first.identifier, first.volume, first.sl) == (11, 11, 0.1, 1.49)
    assert first.price_current == pytest.approx(1.5, rel=1e-3)
    assert first.time == START
    assert second.ticket > 11
    assert second.price_open == pytest.approx(1.27, rel=0.01)
    (opening,) = terminal.history_orders_get(position=11) or ()
    assert opening.sl == 1.49
    *_, paid_in = terminal.history_deals_get(0, 4e9) or ()
    assert (paid_in.type, paid_in.profit, paid_in.comment) == (2, 500.0, "deposit")
    books_balance(terminal)


@pytest.mark.parametrize(
    ("mode", "number"), [(0, 0), (2, 2), ("netting", 0), ("HEDGING", 2), ("exchange", 1)]
)
def test_margin_modes(mode: object, number: int, path: Path) -> None:
    written(path, {"account": {"margin_mode": mode}, "positions": []})
    account = generated(state=path).account_info()
    assert account is not None
    assert account.margin_mode == number


EUR = {"symbol": "EURUSD"}
WAITS = {**EUR, "type": 2, "price_open": 1.0, "volume_initial": 0.1}
BAD: list[tuple[object, str]] = [
    ("{", "is not JSON"),
    ("", "is not JSON"),
    ("[" * 100_000, "is not JSON"),
    ("[]", "$: is no object"),
    ({"position": []}, "$.position: unknown field"),
    ({"positions": {}}, "positions: {} is no list"),
    ({"positions": [5]}, "positions[0]: 5 is no object"),
    ({"positions": [EUR, {}]}, "positions[1].symbol: is missing"),
    ({"positions": [{"symbol": "NOPE"}]}, "positions[0].symbol: 'NOPE' is no symbol"),
    ({"positions": [{**EUR, "stop_loss": 1}]}, "positions[0].stop_loss: unknown field"),
    ('{"positions": [{"symbol": "EURUSD", "sl": NaN}]}', "positions[0].sl: nan is no finite"),
    ('{"positions": [{"symbol": "EURUSD", "tp": Infinity}]}', "positions[0].tp: inf is no finite"),
    ('{"account": {"balance": 1e999}}', "account.balance: inf is no finite"),
    ({"positions": [{**EUR, "sl": -1}]}, "positions[0].sl"),
    ({"positions": [{**EUR, "volume": 0}]}, "positions[0].volume: is not above 0"),
    ({"positions": [{**EUR, "volume": "1"}]}, "positions[0].volume: '1' is no finite number"),
    ({"positions": [{**EUR, "type": 2}]}, "positions[0].type: is neither 0 (buy) nor 1 (sell)"),
    ({"positions": [{**EUR, "ticket": 0}]}, "positions[0].ticket"),
    ({"positions": [{**EUR, "ticket": 1.5}]}, "positions[0].ticket: 1.5 is no whole number"),
    ({"positions": [{**EUR, "ticket": True}]}, "positions[0].ticket: True"),
    ({"positions": [{**EUR, "magic": 2**70}]}, "positions[0].magic"),
    ({"positions": [{**EUR, "comment": 5}]}, "positions[0].comment: 5 is no text"),
    (
        {"positions": [{**EUR, "ticket": 4}, {**EUR, "ticket": 4}]},
        "positions[1].ticket: 4 is there",
    ),
    (
        {"positions": [{**EUR, "ticket": 4}, {**EUR, "ticket": 5, "identifier": 4}]},
        "positions[1].identifier: 4 is there twice",
    ),
    (
        {"account": {"margin_mode": 0}, "positions": [EUR, EUR]},
        "positions[1].symbol: 'EURUSD' is there twice",
    ),
    ({"account": 5}, "account: 5 is no object"),
    ({"account": {"login": "x"}}, "account.login: 'x' is no whole number"),
    ({"account": {"login": 0}}, "account.login: 0"),
    ({"account": {"leverage": 0}}, "account.leverage: 0"),
    ({"account": {"ballance": 5}}, "account.ballance: unknown field"),
    ({"account": {"server": 5}}, "account.server: 5 is no text"),
    ({"account": {"margin_mode": 3}}, "account.margin_mode: 3 is no margin mode"),
    ({"account": {"margin_mode": "both"}}, "account.margin_mode: 'both' is no margin mode"),
    ({"account": {"trade_allowed": 1}}, "account.trade_allowed: 1 is not true or false"),
    ({"history": {"deals": [{"profit": "x"}]}}, "history.deals[0].profit: 'x'"),
    ({"history": {"deals": 5}}, "history.deals: 5 is no list"),
    ({"history": {"trades": []}}, "history.trades: unknown field"),
    ({"orders": [{"symbol": "NOPE"}]}, "orders[0].symbol: 'NOPE' is no symbol"),
    ({"orders": [{**WAITS, "type": 77}]}, "orders[0].type: is no type of a working order"),
    ({"orders": [{**WAITS, "type": 8}]}, "orders[0].type: is no type of a working order"),
    ({"orders": [{**WAITS, "volume_current": -1}]}, "orders[0].volume_current: is not above 0"),
    ({"orders": [{**WAITS, "volume_initial": 0}]}, "orders[0].volume_initial: is not above 0"),
    ({"orders": [{**EUR, "type": 2, "price_open": 1}]}, "orders[0].volume_initial: is not above 0"),
    ({"orders": [{**WAITS, "price_open": 0}]}, "orders[0].price_open: is not above 0"),
    ({"orders": [{**WAITS, "type": 6}]}, "orders[0].price_stoplimit: is not above 0"),
    ({"orders": [{**WAITS, "sl": -1}]}, "orders[0].sl: -1.0 is no finite number of at least 0"),
    ({"orders": [{**WAITS, "ticket": 0}]}, "orders[0].ticket: 0 is no whole number"),
    (
        {"orders": [{**WAITS, "ticket": 4}, {**WAITS, "ticket": 4}]},
        "orders[1].ticket: 4 is there twice",
    ),
    ({"market": {"time_msc": "now"}}, "market.time_msc: 'now'"),
    ({"market": {"prices": {"EURUSD": 0}}}, "market.prices.EURUSD: 0"),
    ({"market": {"prices": [1]}}, "market.prices: [1] is no object"),
    ({"market": {"walks": "all"}}, "market.walks: 'all' is no object"),
    ({"market": {"walks": {"EURUSD": {"seed": 1}}}}, "market.walks.EURUSD.seed: unknown field"),
    ({"market": {"walks": {"EURUSD": {"anchor": 0}}}}, "market.walks.EURUSD.anchor: 0"),
    ({"market": {"walks": {"EURUSD": {"start_msc": 1.5}}}}, "market.walks.EURUSD.start_msc: 1.5"),
    ({"market": {"walks": {"EURUSD": {"draw": 7}}}}, "market.walks.EURUSD.draw: 7"),
]


@pytest.mark.parametrize(("content", "words"), BAD, ids=[row[1] for row in BAD])
def test_bad_files_name_file_and_place(content: object, words: str, path: Path) -> None:
    written(path, content)
    with pytest.raises(Invalid) as caught:
        SimulatedTerminal(market=GeneratedMarket(), now=Clock(), state=path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.field == "sim_state"
    assert caught.value.remedy


def test_all_numbers_that_a_request_may_have_can_be_read_again(path: Path) -> None:
    terminal, clock = playing(ROWS, state=path)
    largest = 2**64 - 1
    for request in (
        order(magic=largest, volume=0.2),
        order(magic=largest, action=5, type=2, price=1.0, type_filling=2, expiration=-5),
        order(magic=2**63, action=5, type=2, price=1.0, type_filling=2, expiration=2**63 - 1),
    ):
        done = terminal.order_send(request)
        assert done is not None
        assert done.retcode == 10009
    before = terminal.positions_get(), terminal.orders_get(), terminal.history_deals_get(0, 4e9)
    again = generated(market=recorded(ROWS), now=clock, state=path)
    assert again.positions_get() == before[0]
    assert again.orders_get() == before[1]
    assert again.history_deals_get(0, 4e9) == before[2]
    assert [one.magic for one in again.orders_get() or ()] == [largest, 2**63]
    assert [one.time_expiration for one in again.orders_get() or ()] == [0, 0]


@pytest.mark.parametrize("ticket", [-1, 0, 2**63])
def test_no_ticket_that_could_not_be_read_again(ticket: int, path: Path) -> None:
    terminal, _ = playing(ROWS, state=path)
    one = terminal.open_position("EURUSD", "BUY", 0.1)
    with pytest.raises(Invalid, match="is no ticket"):
        terminal.change_ticket(one, ticket)


def test_orders_written_by_hand_need_little(path: Path) -> None:
    written(path, {"orders": [WAITS, {**WAITS, "type": 3, "price_open": 2.0}]})
    terminal, clock = playing(ROWS, state=path)
    first, second = terminal.orders_get() or ()
    assert 0 < first.ticket < second.ticket
    assert (first.volume_current, first.state, first.time_setup) == (0.1, 1, int(START))
    written(path, {"orders": [{**WAITS, "ticket": 7, "price_open": 2.0, "tp": 0.5}]})
    again = generated(market=recorded(ROWS), now=clock, state=path)
    clock.at += 10
    assert [one.volume_initial for one in again.history_orders_get(ticket=7) or ()] == [0.1]
    assert [one.volume for one in again.history_deals_get(ticket=7) or ()] == [0.1]


@pytest.mark.parametrize("again", [False, True])
def test_orders_fill_on_a_market_that_is_earlier_than_they_are(again: bool, path: Path) -> None:
    later = int(START) + 10**6
    waits = {**WAITS, "ticket": 7, "price_open": 1.09, "time_setup": later}
    content = {"orders": [{**waits, "time_setup_msc": later * 1000}]}
    if not again:
        written(path, content)
    terminal, clock = playing(ROWS, state=path, reload_state=True)
    if again:
        written(path, content)
    assert len(terminal.orders_get() or ()) == 1
    clock.at += 700
    assert terminal.orders_get() == ()
    assert [one.price for one in terminal.history_deals_get(ticket=7) or ()] == [1.0801]


def test_the_first_deal_onto_a_position_without_its_margin(path: Path) -> None:
    one = {"symbol": "EURUSD", "volume": 0.1, "price_open": 1.05}
    written(path, {"account": {"margin_mode": 0}, "positions": [one]})
    terminal, _ = playing(ROWS, state=path)
    terminal.open_position("EURUSD", "BUY", 0.1)
    account = terminal.account_info()
    assert account is not None
    assert account.margin == 105.0 + 110.01


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be written"):
        SimulatedTerminal(market=GeneratedMarket(), now=Clock(), state=tmp_path / "no" / "x.json")
    with pytest.raises(Invalid, match="cannot be read"):
        SimulatedTerminal(market=GeneratedMarket(), now=Clock(), state=tmp_path)


def edited(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_another_program_plays_the_back_office(path: Path) -> None:
    terminal, _ = playing(ROWS, state=path, reload_state=True)
    ticket = terminal.open_position("EURUSD", "BUY", 0.3, sl=1.05)
    other = terminal.open_position("EURUSD", "BUY", 0.1)

    def change(content: Any) -> None:
        content["positions"][0]["sl"] = 1.06
        content["positions"][0]["ticket"] = 42
        del content["positions"][1]
        content["positions"].append({"symbol": "EURUSD", "type": 1, "volume": 0.5})
        content["account"]["balance"] = 9000

    edited(path, change)
    first, second = terminal.positions_get() or ()
    assert (first.ticket, first.identifier, first.sl) == (42, ticket, 1.06)
    assert (second.type, second.volume, second.price_open) == (1, 0.5, 1.1)
    account = terminal.account_info()
    assert account is not None
    assert account.balance == 9000.0
    assert len(terminal.history_deals_get(position=other) or ()) == 1  # gone without explanation
    correction = (terminal.history_deals_get(0, 4e9) or ())[-1]
    assert (correction.profit, correction.comment) == (-1000.0, "correction")
    terminal.order_send(order())
    assert len(json.loads(path.read_text())["positions"]) == 3  # both go on writing
    books_balance(terminal)


def test_another_past_is_written_too(path: Path) -> None:
    terminal, _ = playing(ROWS, state=path, reload_state=True)
    terminal.open_position("EURUSD", "BUY", 0.3)
    edited(path, lambda content: content["history"]["deals"][0].update(comment="gift"))
    terminal.open_position("EURUSD", "BUY", 0.1)
    past = json.loads(path.read_text())["history"]
    assert [one["comment"] for one in past["deals"]] == ["gift", "", ""]
    assert len(past["orders"]) == 2


def test_a_file_that_says_nothing_of_the_past_leaves_it(path: Path) -> None:
    terminal, _ = playing(ROWS, state=path, reload_state=True)
    ticket = terminal.open_position("EURUSD", "BUY", 0.3)
    terminal.close_position(ticket)
    edited(path, lambda content: content.pop("history"))
    assert terminal.positions_get() == ()
    assert len(terminal.history_deals_get(position=ticket) or ()) == 2


def test_without_reloading_the_file_is_only_written(path: Path) -> None:
    terminal, _ = playing(ROWS, state=path)
    terminal.open_position("EURUSD", "BUY", 0.3)
    edited(path, lambda content: content.update(positions=[]))
    assert len(terminal.positions_get() or ()) == 1


def test_a_half_written_file_is_unknown_never_empty(path: Path) -> None:
    terminal, _ = playing(ROWS, state=path, reload_state=True)
    terminal.open_position("EURUSD", "BUY", 0.3)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert terminal.positions_get() is None
    code, text = terminal.last_error()
    assert code == -10002
    assert str(path) in text
    assert terminal.order_send(order()) is None
    assert terminal.orders_sent == []
    terminal.open_position("EURUSD", "BUY", 0.2)
    assert path.read_text() == whole[: len(whole) // 2]  # what a person is writing is not replaced
    path.write_text(whole)
    assert len(terminal.positions_get() or ()) == 1
    assert terminal.last_error() == (1, "Success")


def test_a_disk_that_refuses_is_told_by_the_next_call(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, _ = playing(ROWS, state=path)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        done = terminal.order_send(order())
        assert done is not None  # it is executed, and said so
        assert done.retcode == 10009
        assert terminal.positions_get() is None
        assert "No space left" in terminal.last_error()[1]
        assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert len(terminal.positions_get() or ()) == 1
    assert len(json.loads(path.read_text())["positions"]) == 1


def test_replacing_is_tried_again_while_somebody_reads(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []
    replace = Path.replace

    def busy(self: Path, target: Path) -> Path:
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(13, "used by another process")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    playing(ROWS, state=path)
    assert len(tries) == 3
    assert path.exists()


def test_an_account_of_ones_own_is_the_one_to_log_in_to(path: Path) -> None:
    """As docs/bots.md says: login and server in the file; any password does."""
    written(path, {"account": {"login": 25115284, "server": "MetaQuotes-Demo"}})
    terminal = generated(state=path)
    assert terminal.account == (25115284, "MetaQuotes-Demo")
    assert terminal.initialize(login=25115284, password="4zatlbqx", server="MetaQuotes-Demo")
    terminal.switch_account(77, "Other")
    assert terminal.account == (25115284, "MetaQuotes-Demo")  # of the file, whoever is in
    assert terminal.initialize(login=1, password="x", server="MetaQuotes-Demo") is False
    assert terminal.last_error()[0] == -6
