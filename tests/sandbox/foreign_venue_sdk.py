"""The venue's own client against a sandbox: reads the ready line on standard input, prints what it saw as JSON.

A process of its own, because the client is asynchronous and logs errors it has been told about.
"""

import asyncio
import json
import sys

from binance_common.configuration import (
    ConfigurationRestAPI,
    ConfigurationWebSocketAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_spot import BadRequestError, Spot

PATIENCE_S = 30


def secrets(key):
    """A key of the ready line as options of a configuration."""
    return {"api_key": key["api_key"], "api_secret": key.get("api_secret"), "private_key": key.get("private_key_file")}


async def until(condition):
    """Wait for something that comes by itself."""
    for _ in range(PATIENCE_S * 50):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("it did not come")


def rest(url, key):
    """All of REST that matters to us; plain values."""
    api = Spot(ConfigurationRestAPI(**secrets(key), base_path=url, timeout=PATIENCE_S * 1000)).rest_api
    seen = {"time": api.time().data().server_time}
    info = api.exchange_info(symbol="BTCUSDT").data().symbols[0]
    seen["symbol"] = [info.symbol, info.status, sorted(one.actual_instance.filter_type for one in info.filters)]
    seen["depth"] = len(api.depth(symbol="BTCUSDT", limit=5).data().bids)
    seen["klines"] = len(api.klines(symbol="BTCUSDT", interval="1m", limit=2).data())
    seen["balances"] = {one.asset: one.free for one in api.get_account().data().balances}
    api.order_test(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.001).data()
    market = api.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.001)
    order = market.data()
    seen["market"] = [order.status, order.executed_qty, len(order.fills) >= 1]
    seen["limits"] = sorted({limit.rateLimitType for limit in market.rate_limits})
    price = float(api.depth(symbol="BTCUSDT", limit=5).data().bids[0][0]) * 0.95
    resting = api.new_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", time_in_force="GTC", quantity=0.001, price=round(price, 2),
        new_client_order_id="sdk-rest-" + key["kind"],
    ).data()  # fmt: skip
    own = {"symbol": "BTCUSDT", "orig_client_order_id": "sdk-rest-" + key["kind"]}
    seen["limit"] = [resting.status, api.get_order(**own).data().status]
    seen["open"] = [one.client_order_id for one in api.get_open_orders(symbol="BTCUSDT").data()]
    seen["cancelled"] = api.delete_order(**own).data().status
    seen["trade"] = [one.order_id for one in api.my_trades(symbol="BTCUSDT", order_id=order.order_id).data()] == [
        order.order_id
    ] * len(order.fills)
    try:
        api.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=1e9).data()
    except BadRequestError as error:
        seen["refused"] = error.args[0]
    return seen


async def websocket_api(url, key):
    """Orders and user data over the WebSocket API."""
    api = Spot(config_ws_api=ConfigurationWebSocketAPI(**secrets(key), stream_url=url)).websocket_api
    await api.create_connection()
    seen, events = {"time": (await api.time()).data().result.server_time}, []
    stream = await api.user_data_stream_subscribe_signature()
    seen["subscription"] = stream.response.data().result.subscription_id
    stream.stream.on("message", lambda event: events.append(event.actual_instance.to_dict()))
    seen["market"] = (
        (await api.order_place(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.001)).data().result.status
    )
    price = float((await api.depth(symbol="BTCUSDT", limit=5)).data().result.bids[0][0]) * 0.95
    placed = await api.order_place(
        symbol="BTCUSDT", side="BUY", type="LIMIT", time_in_force="GTC", quantity=0.001, price=round(price, 2)
    )
    order = placed.data().result
    own = {"symbol": "BTCUSDT", "order_id": order.order_id}
    seen["limit"] = [order.status, (await api.order_status(**own)).data().result.status]
    seen["limits"] = [limit.rateLimitType for limit in placed.rate_limits]
    seen["open"] = order.order_id in [
        one.order_id for one in (await api.open_orders_status(symbol="BTCUSDT")).data().result
    ]
    seen["cancelled"] = (await api.order_cancel(**own)).data().result.status
    refused = await api.order_place(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=1e9)
    seen["refused"] = refused.data()["error"]["code"]

    def mine():
        return [event for event in events if event.get("i") == order.order_id]

    await until(lambda: len(mine()) == 2)
    seen["reports"] = [event["x"] for event in mine()]
    if key["kind"] == "Ed25519":
        logon = (await api.session_logon()).data().result
        seen["logon"] = [logon.api_key == key["api_key"], logon.user_data_stream]
        seen["account"] = (await api.account_status()).data().result.can_trade
        seen["logout"] = (await api.session_logout()).data().result.api_key
    await api.close_connection(close_session=True)
    return seen


async def market_streams(url):
    """Market streams over one connection."""
    api = Spot(config_ws_streams=ConfigurationWebSocketStreams(stream_url=url)).websocket_streams
    await api.create_connection()
    events = []
    for handle in (
        await api.trade(symbol="btcusdt"),
        await api.diff_book_depth(symbol="btcusdt", update_speed="100ms"),
        await api.kline(symbol="btcusdt", interval="1m"),
        await api.book_ticker(symbol="btcusdt"),
    ):
        handle.on("message", lambda event: events.append(type(event).__name__))
    await until(lambda: len(set(events)) == 4)
    await api.close_connection(close_session=True)
    return sorted(set(events))


async def main(ready):
    """Everything, with every kind of key."""
    keys = [key for key in ready["keys"] if key["account"] == "main" and key["can_trade"]]
    return {
        "rest": {key["kind"]: await asyncio.to_thread(rest, ready["rest"], key) for key in keys},
        "websocket_api": {key["kind"]: await websocket_api(ready["ws_api"], key) for key in keys},
        "streams": await market_streams(ready["stream"]),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.load(sys.stdin)))))
