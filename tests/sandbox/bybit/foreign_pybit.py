"""The venue's own SDK against a sandbox: reads the ready line on standard input, prints what it saw as JSON.

A process of its own, because the client leaves threads behind and finds its addresses in module constants.
"""

import copy
import itertools
import json
import sys
import threading
from decimal import Decimal
from pathlib import Path

from pybit import _websocket_stream, _websocket_trading, unified_trading
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP, WebSocket, WebSocketTrading

PATIENCE_S = 60
ORDER = {"category": "spot", "symbol": "BTCUSDT"}


def secrets(key):
    """A key of the ready line as options of the client."""
    if "api_secret" in key:
        return {"api_key": key["api_key"], "api_secret": key["api_secret"]}
    return {
        "api_key": key["api_key"],
        "api_secret": Path(key["private_key_file"]).read_text(),
        "rsa_authentication": True,
    }


def remember_before_the_answer():
    """The client notes down what it has sent after sending it, and stumbles over an answer that is quicker than that."""
    lock = threading.RLock()

    def locked(function):
        def call(*arguments, **options):
            with lock:
                return function(*arguments, **options)

        return call

    for owner, name in (
        (_websocket_stream._WebSocketManager, "_on_message"),
        (_websocket_stream._V5WebSocketManager, "subscribe"),
        (_websocket_trading._V5TradeWebSocketManager, "_send_order_operation"),
    ):
        setattr(owner, name, locked(getattr(owner, name)))


class Heard:
    """Messages of a stream, and a way to wait for them."""

    def __init__(self):
        self.messages = []
        self._changed = threading.Condition()

    def __call__(self, message):
        with self._changed:
            self.messages.append(copy.deepcopy(message))  # the client goes on changing its book
            self._changed.notify_all()

    def wait(self, condition):
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self.messages), PATIENCE_S):
                raise TimeoutError(f"it did not come; heard {self.messages[-3:]}")
            return list(self.messages)


def rest(url, key):
    """All of REST that matters to us; plain values."""
    api = HTTP(**secrets(key), timeout=PATIENCE_S, recv_window=60_000)
    api.endpoint = url
    seen = {"time": api.get_server_time()["time"]}
    info = api.get_instruments_info(**ORDER)["result"]["list"][0]
    seen["instrument"] = [info["symbol"], info["status"], info["priceFilter"]["tickSize"]]
    seen["book"] = [len(api.get_orderbook(**ORDER, limit=5)["result"][side]) for side in "ba"]
    seen["klines"] = len(api.get_kline(**ORDER, interval="1", limit=2)["result"]["list"])
    seen["ticker"] = api.get_tickers(**ORDER)["result"]["list"][0]["symbol"]
    seen["wallet"] = sorted(
        row["coin"] for row in api.get_wallet_balance(accountType="UNIFIED")["result"]["list"][0]["coin"]
    )
    seen["fees"] = api.get_fee_rates(**ORDER)["result"]["list"][0]["takerFeeRate"]
    seen["key"] = api.get_api_key_information()["result"]["readOnly"]
    seen["account"] = api.get_account_info()["result"]["unifiedMarginStatus"]
    name = f"sdk-{key['kind']}"
    market = api.place_order(
        **ORDER, side="Buy", orderType="Market", qty=25, marketUnit="quoteCoin", orderLinkId=f"{name}-market"
    )["result"]
    done = api.get_open_orders(category="spot", orderId=market["orderId"])["result"]["list"][0]
    seen["market"] = [done["orderStatus"], done["orderLinkId"], float(done["cumExecValue"]) > 24]
    fills = api.get_executions(category="spot", orderId=market["orderId"])["result"]["list"]
    seen["fills"] = sum(Decimal(fill["execQty"]) for fill in fills) == Decimal(done["cumExecQty"])
    api.place_order(
        **ORDER,
        side="Buy",
        orderType="Limit",
        qty="0.001",
        price="50000",
        timeInForce="PostOnly",
        orderLinkId=f"{name}-limit",
    )
    seen["open"] = [one["orderLinkId"] for one in api.get_open_orders(**ORDER)["result"]["list"]]
    api.cancel_order(**ORDER, orderLinkId=f"{name}-limit")
    seen["cancelled"] = api.get_order_history(category="spot", orderLinkId=f"{name}-limit")["result"]["list"][0][
        "orderStatus"
    ]
    try:
        api.place_order(**ORDER, side="Buy", orderType="Market", qty="0.01")
    except InvalidRequestError as error:
        seen["refused"] = error.status_code
    return seen


def public_stream():
    """Market data; the client keeps the book itself."""
    socket, books, others = WebSocket("spot", testnet=False), Heard(), Heard()
    socket.orderbook_stream(50, "BTCUSDT", books)
    socket.trade_stream("BTCUSDT", others)
    socket.ticker_stream("BTCUSDT", others)
    socket.kline_stream(1, "BTCUSDT", others)
    heard = books.wait(lambda messages: len(messages) >= 30)
    numbers = [message["data"]["u"] for message in heard]
    topics = {message["topic"] for message in others.wait(lambda some: len({one["topic"] for one in some}) == 3)}
    socket.exit()
    last = heard[-1]["data"]
    return {
        "steps": sorted({later - earlier for earlier, later in itertools.pairwise(numbers)}),
        "levels": [len(last["b"]), len(last["a"])],
        "topics": sorted(topics),
    }


def private_stream(url, key):
    """Orders and what is told about them."""
    own, heard = secrets(key), Heard()
    socket = WebSocket("private", testnet=False, **own, private_auth_expire=60)
    socket.order_stream(heard)
    socket.execution_stream(heard)
    socket.fast_execution_stream(heard)
    socket.wallet_stream(heard)
    trade, answers = WebSocketTrading(testnet=False, **own, recv_window=60_000, private_auth_expire=60), Heard()
    api = HTTP(**own, timeout=PATIENCE_S, recv_window=60_000)
    api.endpoint = url
    number = 0
    # The client does not say when it is logged on: order until it has heard of one.
    while not heard.messages:
        number += 1
        if number > 5 * PATIENCE_S:
            raise TimeoutError("nothing was told about any order")
        api.place_order(**ORDER, side="Buy", orderType="Market", qty="25", orderLinkId=f"push-{key['kind']}-{number}")
        threading.Event().wait(0.2)
    wanted = {"order", "execution", "execution.fast", "wallet"}
    heard.wait(lambda messages: {message["topic"] for message in messages} >= wanted)
    trade.place_order(
        answers, **ORDER, side="Buy", orderType="Limit", qty="0.001", price="50000", orderLinkId=f"trade-{key['kind']}"
    )
    placed = answers.wait(bool)[0]
    messages = heard.wait(
        lambda some: any(row.get("orderLinkId") == f"trade-{key['kind']}" for one in some for row in one["data"])
    )
    socket.exit()
    trade.exit()
    return {
        "topics": sorted({message["topic"] for message in messages}),
        "placed": [placed["retCode"], placed["data"]["orderLinkId"]],
    }


def main(ready):
    """Everything, with every kind of key."""
    remember_before_the_answer()
    public = ready["bybit_public_stream"].rsplit("/", 1)[0]
    unified_trading.PUBLIC_WSS = f"{public}/{{CHANNEL_TYPE}}"
    unified_trading.PRIVATE_WSS = ready["bybit_private_stream"]
    _websocket_trading.TRADE_WSS = ready["bybit_trade_stream"]
    keys = [key for key in ready["bybit_keys"] if key["account"] == "main" and key["can_trade"]]
    return {
        "rest": {key["kind"]: rest(ready["bybit_rest"], key) for key in keys},
        "public": public_stream(),
        "private": {key["kind"]: private_stream(ready["bybit_rest"], key) for key in keys},
    }


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))), flush=True)
