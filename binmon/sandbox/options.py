"""Settings of a sandbox: one frozen declaration that command line, configuration file and tests share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SandboxOptions:
    """What a sandbox can be told; defaults are the venue's own limits where the reference names them."""

    rest_port: int = 0
    """Port of REST and of the fault desk; 0 takes any free one."""
    stream_port: int = 0
    """Port of the market streams; 0 takes any free one."""
    ws_api_port: int = 0
    """Port of the WebSocket API; 0 takes any free one."""
    bybit_port: int = 0
    """Port of the Bybit side, REST and streams alike; 0 takes any free one."""
    symbols: tuple[str, ...] | None = None
    """Symbols to list; ``None`` lists the default ones."""
    bybit_symbols: tuple[str, ...] | None = None
    """Symbols of the Bybit side; ``None``: those of ``symbols``, or by default nearly the same as the Binance side."""
    bybit_basis_bps: float = 8.0
    """How far the prices of the Bybit side usually are from the others, in hundredths of a percent; 0: not at all."""
    bybit_maker_fee: str = "0.001"
    """Share of what it gets that an account of the Bybit side pays for a fill as a maker."""
    bybit_taker_fee: str = "0.001"
    """The same for a fill as a taker."""
    bybit_ban_s: float = 600.0
    """How long an address is shut out from the Bybit side that asks too often."""
    bybit_idle_s: float = 600.0
    """Seconds after which an idle connection of the Bybit side is cut, unless its URL says otherwise."""
    commission: str = "0"
    """Share of what it gets that an account of the Binance side pays for a fill; the venue's testnet takes none."""
    generated_symbols: int = 0
    """Symbols with made-up names listed beside those, most of them quiet and shallow, for a whole market."""
    generated_rate: float | None = None
    """Order-flow actions a second of each made-up symbol; ``None`` leaves each its own."""
    seed: int = 1
    """Decides the order flow, generated symbols and the keys."""
    rate: float | None = None
    """Order-flow actions a second and named symbol; ``None`` leaves each symbol its own."""
    replay: str | None = None
    """Recording to serve in place of the generated market."""
    speed: float = 1.0
    """Pace of the replay; 10 is ten times as fast as recorded."""
    ping_interval_s: float = 20.0
    """Seconds between the server's pings."""
    pong_timeout_s: float = 60.0
    """Seconds a pong may take before the connection is cut."""
    life_s: float = 86_400.0
    """Seconds after which a stream or WebSocket API connection is closed by the server."""
    life_notice_s: float | None = None
    """Seconds before that at which serverShutdown is announced on the connection; ``None``: it comes unannounced."""
    weight_limit: int = 6000
    """Request weight of one window."""
    weight_window_s: int = 60
    """Length of the weight window, aligned to the clock."""
    ban_s: float = 120.0
    """First ban after ignored 429s; each further one is twice as long, up to three days."""
    connect_limit: int = 300
    """Connection attempts within five minutes, at the streams and at the WebSocket API each."""
    messages_per_second: int = 5
    """Frames a client of the streams may send in a second."""
    max_streams: int = 1024
    """Streams on one connection."""
    backlog_bytes: int = 32 * 1024 * 1024
    """Bytes that may wait for a slow client before it is disconnected."""
