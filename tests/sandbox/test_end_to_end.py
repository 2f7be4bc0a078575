"""The sandbox as a client sees it: everything over real sockets, checked by a plain independent book."""

from decimal import Decimal

from binmon.sandbox.matching import Side


def levels(rows):
    return [(Decimal(price), Decimal(quantity)) for price, quantity in rows]


def test_book_stream_tickers_and_partial_depth_agree_level_by_level(start_exchange, plain_book):
    exchange = start_exchange(symbols=("BTCUSDT", "ETHUSDT"), rate=200.0)
    names = [
        f"{symbol}@{kind}"
        for symbol in ("btcusdt", "ethusdt")
        for kind in ("depth@100ms", "bookTicker", "depth20@100ms")
    ]
    stream = exchange.stream(f"/stream?streams={'/'.join(names)}")
    compared = {"tops": 0, "partial": 0, "snapshots": 0}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        tickers, partials, events = {}, {}, []
        depth_name = f"{symbol.lower()}@depth@100ms"
        snapshots = []
        # How often a ticker carries the very id at which an event ends depends on the pace: wait for one, for so long.
        # So it does how far the first snapshot is ahead of what this client has read.
        while len(
            past := [one["u"] for one in events if snapshots and one["u"] > snapshots[0]["lastUpdateId"]]
        ) < 12 or (tickers.keys().isdisjoint(past) and len(events) < 250):
            message = stream.event()
            name, data = message["stream"], message["data"]
            if not name.startswith(symbol.lower()):
                continue
            if name == depth_name:
                if events:
                    assert data["U"] == events[-1]["u"] + 1
                events.append(data)
                if len(events) in (2, 6, 10):
                    snapshots.append(exchange.depth(symbol))
            elif name.endswith("bookTicker"):
                tickers[data["u"]] = data
            else:
                partials[data["lastUpdateId"]] = data
        # A snapshot can lie inside an event; the overlap is harmless as quantities are absolute.
        book = plain_book(snapshots[0])
        assert book.id >= events[0]["U"]
        ends = {}
        for event in events:
            book.apply(event)
            if event["u"] == book.id:
                ends[book.id] = (book.top("b", 20), book.top("a", 20))
        for update_id, (bids, asks) in ends.items():
            if update_id in tickers:
                ticker = tickers[update_id]
                assert [(Decimal(ticker["b"]), Decimal(ticker["B"]))] == bids[:1]
                assert [(Decimal(ticker["a"]), Decimal(ticker["A"]))] == asks[:1]
                compared["tops"] += 1
            if update_id in partials:
                assert levels(partials[update_id]["bids"]) == bids
                assert levels(partials[update_id]["asks"]) == asks
                compared["partial"] += 1
        # With the market standing still all views are at one update id: the whole book is compared.
        exchange.fault("freeze")
        final = exchange.depth(symbol)
        while book.id < final["lastUpdateId"]:
            data = stream.until(lambda message, name=depth_name: message["stream"] == name)["data"]
            book.apply(data)
        book.assert_is(final, least=2900)
        compared["snapshots"] += 1
        exchange.fault("clear")
    assert compared["partial"] >= 10, compared
    assert compared["tops"] >= 1, compared
    assert compared["snapshots"] == 2


def test_both_depth_speeds_describe_the_same_book(start_exchange, plain_book):
    exchange = start_exchange(rate=100.0)
    stream = exchange.stream("/stream?streams=btcusdt@depth/btcusdt@depth@100ms")
    first = {}
    while len(first) < 2:
        message = stream.event()
        first.setdefault(message["stream"], []).append(message["data"])
    snapshot = exchange.depth("BTCUSDT")
    exchange.fault("freeze")
    final = exchange.depth("BTCUSDT")
    while any(events[-1]["u"] < final["lastUpdateId"] for events in first.values()):
        message = stream.event()
        first[message["stream"]].append(message["data"])
    ranges = []
    for events in first.values():
        book = plain_book(snapshot)
        for event in events:
            book.apply(event)
        book.assert_is(final, least=4500)
        ranges.append([(event["U"], event["u"]) for event in events])
    assert ranges[0] != ranges[1]


def test_bitcoin_book_is_deeper_than_a_snapshot_shows(exchange):
    body = exchange.depth("BTCUSDT", 5000)
    assert len(body["bids"]) == len(body["asks"]) == 5000
    engine = exchange.sandbox.market.symbol("BTCUSDT").engine
    assert min(engine.level_count(side) for side in Side) > 6000
    assert len(exchange.depth("BTCUSDT", 7)["bids"]) == 7
    assert len(exchange.depth("BTCUSDT", 9999)["bids"]) == 5000


def test_same_seed_gives_the_same_flow(start_exchange):
    def sequence():
        exchange = start_exchange(seed=7, rate=300.0)
        stream = exchange.stream("/ws/btcusdt@trade")
        trades = [stream.event() for _ in range(12)]
        return [(trade["t"], trade["p"], trade["q"], trade["m"]) for trade in trades]

    first, second = dict_by_id(sequence()), dict_by_id(sequence())
    common = first.keys() & second.keys()
    assert len(common) >= 5
    assert all(first[identifier] == second[identifier] for identifier in common)


def dict_by_id(trades):
    return {trade[0]: trade for trade in trades}
