import pytest

from binmon.sandbox import symbols
from binmon.sandbox.decimals import parse_e8


def test_default_list_has_every_special_case():
    names = {instrument.symbol: instrument for instrument in symbols.default_instruments()}
    assert {"BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "这是测试币456"} <= set(names)
    assert names["BTCUSDT"].levels > 5000
    assert [one.symbol for one in names.values() if one.status == "BREAK"] == [symbols.BREAK_SYMBOL]
    assert [one.symbol for one in names.values() if not one.with_trades] == [symbols.UNTRADED_SYMBOL]


@pytest.mark.parametrize(
    ("symbol", "split"),
    [
        ("ADAUSDT", ("ADA", "USDT")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTCEUR", ("BTC", "EUR")),
        ("USDCUSDT", ("USDC", "USDT")),
    ],
)
def test_quote_asset_is_found_by_suffix(symbol, split):
    assert symbols.split_symbol(symbol) == split


@pytest.mark.parametrize("symbol", ["ADAUSDT", "SHIBUSDC", "ETHBTC", "LTCBNB", "XEUR", "DOGEJPY"])
def test_generated_instruments_are_plausible_and_repeatable(symbol):
    one = symbols.generated_instrument(symbol, 3)
    assert one == symbols.generated_instrument(symbol, 3)
    assert one.start_price >= 200
    assert one.tick_e8 >= 1 and one.step_e8 >= 1
    info = symbols.symbol_info(one, "TRADING", True)
    filters = {entry["filterType"]: entry for entry in info["filters"]}
    assert parse_e8(filters["PRICE_FILTER"]["maxPrice"]) > one.start_price * one.tick_e8
    assert parse_e8(filters["LOT_SIZE"]["maxQty"]) >= one.typical_lots * one.step_e8
    assert info["permissions"] == [] and info["permissionSets"] == [["SPOT"]]
    assert symbols.symbol_info(one, "BREAK", False)["permissionSets"] == []
    assert all(isinstance(entry.get("tickSize", ""), str) for entry in info["filters"])


def test_choice_of_symbols():
    chosen = symbols.choose_instruments(["BTCUSDT", "FOOUSDT"], 1, 50.0)
    by_name = {one.symbol: one for one in chosen}
    assert by_name["BTCUSDT"].rate_hz == by_name["FOOUSDT"].rate_hz == 50.0
    assert by_name[symbols.UNICODE_SYMBOL].rate_hz == 1.0
    with pytest.raises(ValueError, match="twice"):
        symbols.choose_instruments(["A1", "A1"], 1, None)
    with pytest.raises(ValueError, match="btcusdt"):
        symbols.choose_instruments(["btcusdt"], 1, None)
