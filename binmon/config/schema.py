"""Every section and key of ``config.yaml``, declared once: type, default, range, unit, reload, description.

Checks, messages, the masked dump and ``docs/configuration.md`` are all made from these declarations. All sections
are frozen. A key's ``reload`` says whether a changed value is applied to the running daemon (``live``) or needs a
restart. Keys marked ``secret`` are never printed: not by ``repr``, not by :func:`binmon.config.loading.effective`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

MASK = "***"

Reload = Literal["live", "restart"]
Secret = Literal["whole", "credentials"]
VenueName = Literal["binance", "bybit", "kraken", "okx"]
Environment = Literal["sandbox", "testnet", "demo", "production"]
Interval = Literal[
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"
]  # fmt: skip
LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


def key(
    description: str,
    *,
    reload: Reload = "restart",
    unit: str | None = None,
    secret: Secret | None = None,
    variable: str | None = None,
    **limits: Any,
) -> msgspec.Meta:
    """The declaration of one key.

    ``secret="whole"`` hides the value, ``"credentials"`` only user, password and query of a URL. ``variable`` is the
    environment variable that fills the key where the file leaves it out. ``limits`` are those of ``msgspec.Meta``.
    """
    extra = {"reload": reload, "unit": unit, "secret": secret, "variable": variable}
    return msgspec.Meta(description=description, extra=extra, **limits)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all sections share: frozen, no unknown keys, and a ``repr`` without secrets."""

    def __repr__(self) -> str:
        pairs = (f"{name}={masked(value, secret)!r}" for name, value, secret in fields_with_secrecy(self))
        return f"{type(self).__name__}({', '.join(pairs)})"

    def __rich_repr__(self) -> Any:
        for name, value, secret in fields_with_secrecy(self):
            yield name, masked(value, secret)


def fields_with_secrecy(section: Section) -> list[tuple[str, Any, Secret | None]]:
    """``(key, value, secret)`` of every key of a section, in the order of declaration."""
    hints = msgspec.structs.fields(type(section))
    return [(field.name, getattr(section, field.name), _secrecy(field.type)) for field in hints]


def reloads(section: type[Section]) -> dict[str, Reload]:
    """How a changed value of each key of a section comes into force. Nested sections are not among them."""
    declared = {field.name: _declared(field.type) for field in msgspec.structs.fields(section)}
    return {name: extra["reload"] for name, extra in declared.items() if extra}


def _secrecy(annotation: Any) -> Secret | None:
    secret: Secret | None = _declared(annotation).get("secret")
    return secret


def _declared(annotation: Any) -> dict[str, Any]:
    """What `key` said of a key beside its limits; nothing for a nested section."""
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.extra:
            return meta.extra
    return {}


def masked(value: Any, secret: Secret | None) -> Any:
    """``value`` as it may be shown. An empty secret stays as it is, so that one sees that it is missing."""
    if secret is None or not value:
        return value
    if isinstance(value, tuple):
        return tuple(masked(one, secret) for one in value)
    if secret == "whole":
        return MASK
    return without_credentials(str(value))


def without_credentials(url: str) -> str:
    """``url`` with user, password and query masked."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    if "@" in url and "@" not in parts.netloc:
        return MASK  # credentials that are not where a URL has them: better to show nothing
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{MASK}@{host}" if "@" in parts.netloc else host
    return parts._replace(netloc=netloc, query=MASK if parts.query else "", fragment="").geturl()


class BinanceEndpoints(Section, frozen=True, kw_only=True):
    """Base URLs that replace those of the environment. ``http://`` and ``ws://`` are for loopback only."""

    rest: Annotated[str | None, key("Base URL of the REST API; empty: that of the environment")] = None
    stream: Annotated[str | None, key("Base URL of the market streams; empty: that of the environment")] = None
    ws_api: Annotated[str | None, key("URL of the WebSocket API; empty: that of the environment")] = None


class BybitEndpoints(Section, frozen=True, kw_only=True):
    """Base URLs that replace those of the environment. ``http://`` and ``ws://`` are for loopback only."""

    rest: Annotated[str | None, key("Base URL of the REST API; empty: that of the environment")] = None
    public_stream: Annotated[str | None, key("URL of the public stream; empty: that of the environment")] = None
    private_stream: Annotated[str | None, key("URL of the private stream; empty: that of the environment")] = None


class BinanceConfig(Section, frozen=True, kw_only=True):
    """Binance Spot."""

    environment: Annotated[Environment, key("Which Binance; `sandbox` is the embedded local exchange")] = "sandbox"
    endpoints: BinanceEndpoints = msgspec.field(default_factory=BinanceEndpoints)
    api_key: Annotated[str, key("API key", secret="whole", variable="BINANCE_API_KEY")] = ""
    api_secret: Annotated[str, key("Secret of an HMAC key", secret="whole", variable="BINANCE_API_SECRET")] = ""
    private_key_file: Annotated[Text | None, key("PEM file of an Ed25519 or RSA key, instead of `api_secret`")] = None
    session_logon: Annotated[
        bool, key("Log connections of the WebSocket API on, instead of signing the subscription; Ed25519 keys only")
    ] = False

    @property
    def has_key(self) -> bool:
        """Whether any part of a key is here, usable or not."""
        return bool(self.api_key or self.api_secret or self.private_key_file)

    @property
    def has_whole_key(self) -> bool:
        """Whether all parts of a key are here."""
        return bool(self.private_key_file or (self.api_key and self.api_secret))


class BybitConfig(Section, frozen=True, kw_only=True):
    """Bybit v5 Spot."""

    environment: Annotated[Environment, key("Which Bybit; `sandbox` is the embedded local exchange")] = "sandbox"
    endpoints: BybitEndpoints = msgspec.field(default_factory=BybitEndpoints)
    api_key: Annotated[str, key("API key", secret="whole", variable="BYBIT_API_KEY")] = ""
    api_secret: Annotated[str, key("Secret of the key", secret="whole", variable="BYBIT_API_SECRET")] = ""


class PublicEndpoints(Section, frozen=True, kw_only=True):
    """URLs that replace those of the environment. ``http://`` and ``ws://`` are for loopback only."""

    rest: Annotated[str | None, key("Base URL of the REST API; empty: that of the environment")] = None
    stream: Annotated[str | None, key("Complete URL of the public stream; empty: that of the environment")] = None


class PublicVenueConfig(Section, frozen=True, kw_only=True):
    """A venue without keys: market data only. It is contacted only when something names it."""

    environment: Annotated[
        Literal["production", "sandbox"],
        key("`production`: the venue itself; `sandbox`: what `endpoints` names, there is no embedded one"),
    ] = "production"
    endpoints: PublicEndpoints = msgspec.field(default_factory=PublicEndpoints)


class KrakenConfig(PublicVenueConfig, frozen=True, kw_only=True):
    """Kraken v2 spot, market data only. Symbols are written `BTC/USD`. Contacted only when something names it."""


class OkxConfig(PublicVenueConfig, frozen=True, kw_only=True):
    """OKX v5 spot, market data only. Symbols are written `BTC-USDT`. Contacted only when something names it."""


class VenuesConfig(Section, frozen=True, kw_only=True):
    """The exchanges and the keys to them."""

    binance: BinanceConfig = msgspec.field(default_factory=BinanceConfig)
    bybit: BybitConfig = msgspec.field(default_factory=BybitConfig)
    kraken: KrakenConfig = msgspec.field(default_factory=KrakenConfig)
    okx: OkxConfig = msgspec.field(default_factory=OkxConfig)

    def environment(self, venue: VenueName) -> Environment:
        """Which environment of a venue is in use."""
        environment: Environment = getattr(self, venue).environment
        return environment


class BookSelection(Section, frozen=True, kw_only=True):
    """The books of one venue."""

    venue: Annotated[VenueName, key("Which venue", reload="live")] = "binance"
    symbols: Annotated[tuple[Text, ...] | str, key('Symbols, or `"all"`, or `"all:QUOTE"`', reload="live")]


class BooksConfig(Section, frozen=True, kw_only=True):
    """The order books that are kept and recorded."""

    venue: Annotated[
        VenueName | tuple[BookSelection, ...],
        key("Venue of `symbols`, or a list of `{venue, symbols}`, each a venue and its symbols", reload="live"),
    ] = "binance"
    symbols: Annotated[
        tuple[Text, ...] | str,
        key('List of symbols, or `"all"`, or `"all:QUOTE"`: those with that quote currency', reload="live"),
    ] = ("BTCUSDT", "ETHUSDT")
    snapshot_every: Annotated[
        int, key("A full snapshot is recorded for every so many book updates", ge=1, reload="live", unit="updates")
    ] = 100
    depth: Annotated[int, key("Levels a side of the REST snapshot", ge=1, le=5000, unit="levels")] = 5000
    record_depth: Annotated[int, key("Levels a side that are recorded; 0: all", ge=0, reload="live", unit="levels")] = 0
    redundancy: Annotated[
        int, key("Connections that carry every stream; 2: a hot standby all the time", ge=1, le=2)
    ] = 1
    audit_interval_s: Annotated[
        float,
        key("Time between two comparisons of a book with the venue's", gt=0, le=31536000, reload="live", unit="s"),
    ] = 300.0
    rotate_window: Annotated[
        str, key("UTC, `HH:MM-HH:MM`: when a socket near its 24 h end is best replaced", reload="live")
    ] = "03:00-05:00"

    def selections(self) -> tuple[BookSelection, ...]:
        """Venue by venue what is wanted, whichever of the two forms the file uses."""
        if isinstance(self.venue, str):
            return (BookSelection(venue=self.venue, symbols=self.symbols),)
        return self.venue

    def selections_with_keys(self) -> tuple[tuple[BookSelection, str], ...]:
        """The same, each with the key of its symbols."""
        if isinstance(self.venue, str):
            return tuple((one, "books.symbols") for one in self.selections())
        return tuple((one, f"books.venue[{index}].symbols") for index, one in enumerate(self.venue))


class RecorderConfig(Section, frozen=True, kw_only=True):
    """Where and how recordings are written."""

    directory: Annotated[str, key("Directory of the recordings", min_length=1)] = "data"
    format: Annotated[Literal["parquet", "jsonl"], key("Format of finished files")] = "parquet"
    flush_interval_s: Annotated[float, key("At most so much is lost by `kill -9`", gt=0, le=3600, unit="s")] = 1.0
    rotate_s: Annotated[float, key("A file is finished after this time", gt=0, le=86400, unit="s")] = 3600.0
    keep_days: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        key("Delete recordings of days older than this; null: never", reload="live", unit="days"),
    ] = None
    keep_gb: Annotated[
        Positive | None,
        key(
            "Delete the oldest days above this size, never today's; null: never", reload="live", unit="GB of 10⁹ bytes"
        ),
    ] = None


class IncidentsConfig(Section, frozen=True, kw_only=True):
    """The flight recorder: raw market frames of the last seconds, written when something goes wrong (docs/incidents.md)."""

    enabled: Annotated[bool, key("Whether frames are kept and incidents written")] = True
    directory: Annotated[Text | None, key("Directory of the files; null: `incidents` in `recorder.directory`")] = None
    keep_s: Annotated[
        float, key("So much before an incident can be replayed, as far as the memory reaches", ge=1, le=600, unit="s")
    ] = 30.0
    keep_memory_mb: Annotated[
        float, key("Memory for that, for each venue", ge=1, le=16384, unit="MB of 10⁶ bytes")
    ] = 64.0  # fmt: skip
    after_s: Annotated[float, key("So much of what follows is written, too", ge=0, le=60, unit="s")] = 2.0
    repeat_after_s: Annotated[
        float, key("Least time between two files of the same reason and symbol", ge=0, le=86400, unit="s")
    ] = 60.0
    most_per_hour: Annotated[int, key("Most files in an hour; others are held back and counted", ge=1, le=3600)] = 30
    keep_files: Annotated[int, key("The newest so many files are kept", ge=1, le=100000, unit="files")] = 50
    keep_mb: Annotated[
        float, key("Above this size the oldest files are deleted, never the newest", gt=0, unit="MB of 10⁶ bytes")
    ] = 500.0


class LatencyConfig(Section, frozen=True, kw_only=True):
    """Small orders of our own, timed up to their execution report."""

    enabled: Annotated[bool, key("Whether to probe")] = True
    venue: Annotated[VenueName, key("Where to probe")] = "binance"
    symbol: Annotated[str, key("What to trade", min_length=1)] = "BTCUSDT"
    threshold_ms: Annotated[int, key("A report later than this raises an alert", ge=100, reload="live", unit="ms")] = (
        5000
    )
    interval_s: Annotated[
        float,
        key("Time between two orders; at least 15 outside the sandbox", gt=0, le=31536000, reload="live", unit="s"),
    ] = 20.0
    report_timeout_ms: Annotated[
        int, key("A report that has not come by then counts as lost", ge=100, reload="live", unit="ms")
    ] = 30000
    notional: Annotated[
        float, key("Size of an order, raised to the symbol's minimum", gt=0, reload="live", unit="quote currency")
    ] = 15.0
    transport: Annotated[Literal["rest", "ws_api"], key("Way that orders take")] = "rest"


class CandleWatch(Section, frozen=True, kw_only=True):
    """One candle and its limits; `above`, `below` or both."""

    venue: Annotated[VenueName, key("Which venue", reload="live")] = "binance"
    symbol: Annotated[str, key("Which symbol", min_length=1, reload="live")]
    interval: Annotated[Interval, key("Length of the candles", reload="live")] = "1m"
    price: Annotated[
        Literal["open", "high", "low", "close"], key("Which price of the candle is compared", reload="live")
    ] = "close"
    above: Annotated[Positive | None, key("Alert when the price is above this", reload="live", unit="price")] = None
    below: Annotated[Positive | None, key("Alert when the price is below this", reload="live", unit="price")] = None
    hysteresis_bps: Annotated[
        float,
        key(
            "How far back a price must come until it is over, in hundredths of a percent of the limit",
            ge=0,
            lt=10000,
            reload="live",
            unit="0.01 %",
        ),
    ] = 5.0
    hysteresis_price: Annotated[
        Annotated[float, msgspec.Meta(ge=0)] | None,
        key("The same as a difference of prices, instead of `hysteresis_bps`", reload="live", unit="price"),
    ] = None
    closed_only: Annotated[
        bool, key("Whether only candles that are over are compared, each once; else the open one, too", reload="live")
    ] = False


class TradeWatch(Section, frozen=True, kw_only=True):
    """One symbol's trades and their limits; `above`, `below` or both."""

    venue: Annotated[VenueName, key("Which venue", reload="live")] = "binance"
    symbol: Annotated[str, key("Which symbol", min_length=1, reload="live")]
    above: Annotated[Positive | None, key("Alert when the price is above this", reload="live", unit="price")] = None
    below: Annotated[Positive | None, key("Alert when the price is below this", reload="live", unit="price")] = None
    hysteresis_bps: Annotated[
        float,
        key(
            "How far back a price must come until it is over, in hundredths of a percent of the limit",
            ge=0,
            lt=10000,
            reload="live",
            unit="0.01 %",
        ),
    ] = 5.0
    hysteresis_price: Annotated[
        Annotated[float, msgspec.Meta(ge=0)] | None,
        key("The same as a difference of prices, instead of `hysteresis_bps`", reload="live", unit="price"),
    ] = None


class ListingsConfig(Section, frozen=True, kw_only=True):
    """New symbols."""

    enabled: Annotated[bool, key("Whether to look", reload="live")] = True
    venues: Annotated[tuple[VenueName, ...], key("Where to look", reload="live")] = ("binance",)
    interval_s: Annotated[float, key("Time between two looks", ge=1, le=31536000, reload="live", unit="s")] = 60.0
    record: Annotated[
        bool, key("Whether the book of a new symbol is kept and recorded at once, until a restart", reload="live")
    ] = False


class WatchConfig(Section, frozen=True, kw_only=True):
    """Candles, trades and listings that are watched."""

    candles: Annotated[tuple[CandleWatch, ...], key("Candles with limits", reload="live")] = ()
    trades: Annotated[tuple[TradeWatch, ...], key("Trades with limits", reload="live")] = ()
    listings: ListingsConfig = msgspec.field(default_factory=ListingsConfig)

    def watched(self) -> dict[tuple[VenueName, str], str]:
        """Venue and symbol of all candles and trades, with the first entry that names them (``watch.trades[2]``)."""
        first: dict[tuple[VenueName, str], str] = {}
        for index, candle in enumerate(self.candles):
            first.setdefault((candle.venue, candle.symbol), f"watch.candles[{index}]")
        for index, trade in enumerate(self.trades):
            first.setdefault((trade.venue, trade.symbol), f"watch.trades[{index}]")
        return first


class Sink(Section, frozen=True, kw_only=True, tag_field="kind"):
    """Where tops of book go; ``kind`` tells which sort of sink it is."""

    @property
    def kind(self) -> str:
        """The ``kind`` of the file: log, redis, nats, kafka or clickhouse."""
        return str(type(self).__struct_config__.tag)


class LogSink(Sink, frozen=True, kw_only=True, tag="log"):
    """Tops of book as ``book.top`` lines of the log."""


class RedisSink(Sink, frozen=True, kw_only=True, tag="redis"):
    """Redis: publishes on a channel, and keeps the newest in a hash."""

    url: Annotated[str, key("`redis://…`", min_length=1, reload="live", secret="credentials")] = (
        "redis://127.0.0.1:6379/0"
    )
    channel: Annotated[str, key("Channel to publish on", min_length=1, reload="live")] = "binmon.top"


class NatsSink(Sink, frozen=True, kw_only=True, tag="nats"):
    """NATS."""

    url: Annotated[str, key("`nats://…`", min_length=1, reload="live", secret="credentials")] = "nats://127.0.0.1:4222"
    subject: Annotated[str, key("Subject to publish on", min_length=1, reload="live")] = "binmon.top"


class KafkaSink(Sink, frozen=True, kw_only=True, tag="kafka"):
    """Kafka."""

    brokers: Annotated[tuple[Text, ...], key("`host:port` of some brokers", min_length=1, reload="live")] = (
        "127.0.0.1:9092",
    )
    topic: Annotated[str, key("Topic to write to", min_length=1, reload="live")] = "binmon.top"
    username: Annotated[str, key("User name, empty: none", reload="live")] = ""
    password: Annotated[str, key("Password", reload="live", secret="whole")] = ""


class ClickHouseSink(Sink, frozen=True, kw_only=True, tag="clickhouse"):
    """ClickHouse."""

    url: Annotated[str, key("`http://…` or `https://…`", min_length=1, reload="live", secret="credentials")] = (
        "http://127.0.0.1:8123"
    )
    table: Annotated[str, key("Table to insert into", min_length=1, reload="live")] = "binmon_top"
    username: Annotated[str, key("User name", reload="live")] = "default"
    password: Annotated[str, key("Password", reload="live", secret="whole")] = ""


AnySink = LogSink | RedisSink | NatsSink | KafkaSink | ClickHouseSink


class PublishConfig(Section, frozen=True, kw_only=True):
    """The best bid and ask, given to others."""

    interval_ms: Annotated[
        int, key("Time between two tops of one book; 0: on every change of the top", ge=0, reload="live", unit="ms")
    ] = 1000
    sinks: Annotated[tuple[AnySink, ...], key("Where tops of book go: a list of `{kind, …}`", reload="live")] = (
        LogSink(),
    )


class ExecutionConfig(Section, frozen=True, kw_only=True):
    """Limits on orders, and how `binmon price` and `binmon order` go about them: a command reads the file at its start."""

    allow_production: Annotated[bool, key("Must be true before any order leaves for production")] = False
    max_order_notional: Annotated[
        float, key("Largest single order", gt=0, reload="live", unit="quote currency")
    ] = 100.0  # fmt: skip
    max_orders_per_day: Annotated[int, key("Most orders in one UTC day", ge=0, reload="live", unit="orders")] = 200
    stale_after_ms: Annotated[
        int, key("An older quote is not compared, and no order is sent on it", ge=50, le=60000, unit="ms")
    ] = 3000
    max_slippage_bps: Annotated[
        float,
        key(
            "How much worse than shown the effective price may be when an order leaves that was asked for anew",
            ge=0,
            le=10000,
            unit="0.01 %",
        ),
    ] = 50.0
    assumed_taker_fee_bps: Annotated[
        float, key("Fee of a venue where there is no account to ask; marked as assumed", ge=0, lt=10000, unit="0.01 %")
    ] = 10.0
    quote_timeout_ms: Annotated[
        int, key("A venue that has not answered by then is left out", ge=100, le=60000, unit="ms")
    ] = 5000
    settle_timeout_ms: Annotated[
        int, key("So long it is asked what became of an order", ge=100, le=600000, unit="ms")
    ] = 30000


class AlertRule(Section, frozen=True, kw_only=True):
    """How patient one alert is. Where both a count and a time are given, both must be met."""

    alert: Annotated[Text, key("Which alert, by its name in the log: `latency.delayed`", reload="live")]
    for_count: Annotated[int, key("Raised after so many bad signals in a row", ge=1, le=1000000, reload="live")] = 1
    for_s: Annotated[
        float, key("Raised when it has held for so long", ge=0, le=31536000, reload="live", unit="s")
    ] = 0.0  # fmt: skip
    clear_count: Annotated[int, key("Over after so many good signals in a row", ge=1, le=1000000, reload="live")] = 1
    clear_s: Annotated[
        float, key("Over when it has been good for so long", ge=0, le=31536000, reload="live", unit="s")
    ] = 0.0  # fmt: skip
    resend_every_s: Annotated[
        Annotated[float, msgspec.Meta(gt=0, le=31536000)] | None,
        key("Sent again after this time; null: as `alerts.resend_every_s`", reload="live", unit="s"),
    ] = None


class AlertsConfig(Section, frozen=True, kw_only=True):
    """Who is told, and how soon."""

    notify: Annotated[
        tuple[Text, ...], key("Service URLs: Slack, Telegram, e-mail, webhook …", reload="live", secret="whole")
    ] = ()
    resend_every_s: Annotated[
        float, key("An alert that goes on is sent again after this time", gt=0, le=31536000, reload="live", unit="s")
    ] = 3600.0
    rules: Annotated[
        tuple[AlertRule, ...], key("Alerts that need more or less patience than others: a list", reload="live")
    ] = ()


class DashboardConfig(Section, frozen=True, kw_only=True):
    """The web page."""

    enabled: Annotated[bool, key("Whether to serve it")] = True
    listen: Annotated[str, key("Address, `host:port`; port 0: any free one")] = "127.0.0.1:8787"
    hosts: Annotated[
        tuple[Text, ...], key("Names that it is reached by, beside localhost and addresses: a list, without ports")
    ] = ()
    behind_proxy: Annotated[
        bool,
        key("Whether one proxy stands in front, whose `X-Forwarded-For` and `X-Forwarded-Proto` are to be believed"),
    ] = False
    session_hours: Annotated[
        float, key("A login ends after so long without any request", gt=0, le=8760, unit="h")
    ] = 12.0  # fmt: skip
    most_streams: Annotated[
        int, key("How many pages may be open at the same time", ge=1, le=1000, unit="streams of events")
    ] = 64


class MetricsConfig(Section, frozen=True, kw_only=True):
    """`/metrics` and `/healthz`."""

    enabled: Annotated[bool, key("Whether to serve them")] = True
    listen: Annotated[str, key("Address, `host:port`; port 0: any free one")] = "127.0.0.1:9787"
    per_symbol: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=100_000)] | tuple[Text, ...],
        key("How many symbols of a venue get series of their own, or a list of those that do", reload="live"),
    ] = 100


class LoggingConfig(Section, frozen=True, kw_only=True):
    """The daemon's log, which always goes to standard output (docs/logs.md)."""

    level: Annotated[LogLevel, key("Least level that is written", reload="live")] = "info"
    levels: Annotated[
        dict[str, LogLevel],
        key("Other levels for some loggers and those below them: `{binmon.books: debug}`", reload="live"),
    ] = msgspec.field(default_factory=dict)
    file: Annotated[Text | None, key("A file that gets the same lines as JSON; null: none")] = None
    rotate_mb: Annotated[
        Annotated[float, msgspec.Meta(ge=0.01, le=1_000_000)] | None,
        key("The file is rotated before it is larger; null: never", reload="live", unit="MB of 10⁶ bytes"),
    ] = 100.0
    keep_files: Annotated[int, key("How many rotated files are kept", ge=1, le=1000, reload="live", unit="files")] = 5
    repeat_limit: Annotated[
        int,
        key(
            "Of lines that repeat each other so many are written in `repeat_window_s`; 0: all",
            ge=0,
            reload="live",
            unit="lines",
        ),
    ] = 60
    repeat_window_s: Annotated[
        float, key("The time for which `repeat_limit` stands", ge=0.1, le=86400, reload="live", unit="s")
    ] = 60.0


class StateConfig(Section, frozen=True, kw_only=True):
    """What outlives a restart besides recordings."""

    path: Annotated[str, key("SQLite file", min_length=1)] = "data/state.db"


class ReloadConfig(Section, frozen=True, kw_only=True):
    """Applying a changed file to the running daemon. SIGHUP does so whatever stands here (docs/reload.md)."""

    watch: Annotated[bool, key("Reload when the file is saved", reload="live")] = False


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration; ``Config()`` is all defaults."""

    venues: VenuesConfig = msgspec.field(default_factory=VenuesConfig)
    books: BooksConfig = msgspec.field(default_factory=BooksConfig)
    recorder: RecorderConfig = msgspec.field(default_factory=RecorderConfig)
    incidents: IncidentsConfig = msgspec.field(default_factory=IncidentsConfig)
    latency: LatencyConfig = msgspec.field(default_factory=LatencyConfig)
    watch: WatchConfig = msgspec.field(default_factory=WatchConfig)
    publish: PublishConfig = msgspec.field(default_factory=PublishConfig)
    execution: ExecutionConfig = msgspec.field(default_factory=ExecutionConfig)
    alerts: AlertsConfig = msgspec.field(default_factory=AlertsConfig)
    dashboard: DashboardConfig = msgspec.field(default_factory=DashboardConfig)
    metrics: MetricsConfig = msgspec.field(default_factory=MetricsConfig)
    logging: LoggingConfig = msgspec.field(default_factory=LoggingConfig)
    state: StateConfig = msgspec.field(default_factory=StateConfig)
    reload: ReloadConfig = msgspec.field(default_factory=ReloadConfig)
