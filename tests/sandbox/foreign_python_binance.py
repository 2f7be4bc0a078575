"""python-binance against a sandbox: reads the ready line on standard input, prints what it saw as JSON.

A process of its own, because the client wants the addresses as attributes of its classes and waits ten seconds for each
of its connections to end. The keys are used at the same time.
"""

import asyncio
import json
import sys
from pathlib import Path

from binance.async_client import AsyncClient
from binance.client import Client
from binance.exceptions import BinanceAPIException
from binance.ws.streams import BinanceSocketManager

PATIENCE_S = 30
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET"}


def secrets(key):
    """A key of the ready line as arguments of a client."""
    file = key.get("private_key_file")
    return {
        "api_key": key["api_key"], "api_secret": key.get("api_secret"), "private_key": Path(file) if file else None,
    }  # fmt: skip


def aimed(client, ready):
    """A client class with the addresses of the sandbox."""
    return type(
        client.__name__, (client,), {"API_URL": ready["rest"] + "/api", "WS_API_URL": ready["ws_api"]}
    )  # fmt: skip


def rest(ready, key):
    """All of REST that matters to us."""
    client = aimed(Client, ready)(**secrets(key), requests_params={"timeout": PATIENCE_S})
    seen = {"time": client.get_server_time()["serverTime"]}
    seen["symbol"] = [client.get_exchange_info()["symbols"][0]["symbol"], client.get_symbol_info("BTCUSDT")["status"]]
    book = client.get_order_book(symbol="BTCUSDT", limit=5)
    seen["depth"] = len(book["bids"])
    seen["balances"] = {one["asset"]: one["free"] for one in client.get_account()["balances"]}
    seen["tested"] = client.create_test_order(**MARKET, quantity="0.001")
    order = client.order_market_buy(symbol="BTCUSDT", quantity="0.001")
    seen["market"] = [order["status"], order["executedQty"]]
    price = f"{float(book['bids'][0][0]) * 0.95:.2f}"
    resting = client.order_limit_buy(symbol="BTCUSDT", quantity="0.001", price=price)
    own = {"symbol": "BTCUSDT", "orderId": resting["orderId"]}
    seen["limit"] = [resting["status"], client.get_order(**own)["status"]]
    seen["open"] = resting["orderId"] in [one["orderId"] for one in client.get_open_orders(symbol="BTCUSDT")]
    seen["cancelled"] = client.cancel_order(**own)["status"]
    seen["trade"] = order["orderId"] in [one["orderId"] for one in client.get_my_trades(symbol="BTCUSDT")]
    try:
        client.order_market_buy(symbol="BTCUSDT", quantity="0.0000001")
    except BinanceAPIException as error:
        seen["refused"] = [error.status_code, error.code]
    client.close_connection()
    return seen


async def websockets(ready, key):
    """Orders and user data over the WebSocket API, and market streams."""
    client = await aimed(AsyncClient, ready).create(**secrets(key))
    manager = BinanceSocketManager(client)
    manager.STREAM_URL = ready["stream"] + "/"
    seen = {"time": (await client.ws_get_time())["serverTime"]}
    async with manager.user_socket() as user:
        order = await client.ws_create_order(**MARKET, quantity="0.001")
        reports = []
        while not reports or reports[-1]["e"] != "outboundAccountPosition" or reports[0].get("i") != order["orderId"]:
            event = await asyncio.wait_for(user.recv(), PATIENCE_S)
            if event.get("i", order["orderId"]) == order["orderId"]:  # other keys of this account trade, too
                reports = [*reports, event] if reports or "i" in event else []
        seen["reports"] = [report["x"] for report in reports[:-1] if report["e"] == "executionReport"]
        price = f"{float((await client.ws_get_order_book(symbol='BTCUSDT', limit=5))['bids'][0][0]) * 0.95:.2f}"
        resting = await client.ws_order_limit_buy(symbol="BTCUSDT", quantity="0.001", price=price)
        own = {"symbol": "BTCUSDT", "orderId": resting["orderId"]}
        seen["limit"] = [order["status"], resting["status"], (await client.ws_get_order(**own))["status"]]
        seen["cancelled"] = (await client.ws_cancel_order(**own))["status"]
        try:
            await client.ws_create_order(**MARKET, quantity="0.0000001")
        except BinanceAPIException as error:
            seen["refused"] = [error.status_code, error.code]
    async with manager.trade_socket("BTCUSDT") as trades, manager.depth_socket("BTCUSDT") as depth:
        seen["streams"] = [
            (await asyncio.wait_for(trades.recv(), PATIENCE_S))["e"],
            (await asyncio.wait_for(depth.recv(), PATIENCE_S))["e"],
        ]
    async with manager.multiplex_socket(["btcusdt@depth@100ms"]) as several:
        seen["combined"] = (await asyncio.wait_for(several.recv(), PATIENCE_S))["stream"]
    await client.close_connection()
    return seen


async def main(ready):
    """Everything, with every kind of key."""
    keys = [key for key in ready["keys"] if key["account"] == "main" and key["can_trade"]]
    kinds = [key["kind"] for key in keys]
    by_rest = [await asyncio.to_thread(rest, ready, key) for key in keys]
    by_socket = await asyncio.gather(*(websockets(ready, key) for key in keys))
    return {"rest": dict(zip(kinds, by_rest, strict=True)), "websockets": dict(zip(kinds, by_socket, strict=True))}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
