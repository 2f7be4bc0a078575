"""The session of a WebSocket API connection, without any connection."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from binmon.sandbox.parameters import ApiError
from binmon.sandbox.sessions import NOT_LOGGED_ON, Session
from binmon.sandbox.trading.accounts import Accounts, ApiKey, KeyKind

ACCOUNTS = Accounts()
ALL = [ACCOUNTS.add(name) for name in ("one", "two", "three")]
KEY = ApiKey("key-1", KeyKind.HMAC, b"secret")
account = st.sampled_from(ALL)


def code(error):
    return error.value.code


class SessionMachine(RuleBasedStateMachine):
    """The session against the plainest model: a list of (id, account, by logon) and a counter."""

    def __init__(self):
        super().__init__()
        self.session = Session(0, most_identifiers=12, most_active=2)
        self.active = []
        self.next = 0
        self.logged_on = None

    def expect(self, one, by_logon, act):
        if any(active[1] is one for active in self.active):
            with pytest.raises(ApiError) as error:
                act()
            assert code(error) == -2035
        elif self.next >= 12 or len(self.active) >= 2:
            with pytest.raises(ApiError) as error:
                act()
            assert code(error) == -2042
        else:
            assert act().identifier == self.next
            self.active.append((self.next, one, by_logon))
            self.next += 1

    @rule(one=account)
    def subscribe(self, one):
        self.expect(one, False, lambda: self.session.subscribe(one))

    @rule()
    def subscribe_logged_on(self):
        if self.logged_on is None:
            with pytest.raises(ApiError) as error:
                self.session.subscribe_logged_on()
            assert error.value == NOT_LOGGED_ON
        else:
            self.expect(self.logged_on, True, self.session.subscribe_logged_on)

    @rule(one=account)
    def log_on(self, one):
        self.session.log_on(one, KEY, 5)
        self.logged_on = one

    @rule()
    def log_out(self):
        ended = [one.identifier for one in self.session.log_out()]
        assert ended == [active[0] for active in self.active if active[2]]
        self.active = [active for active in self.active if not active[2]]
        self.logged_on = None

    @rule(identifier=st.integers(0, 12))
    def unsubscribe(self, identifier):
        if identifier in [active[0] for active in self.active]:
            assert [one.identifier for one in self.session.unsubscribe(identifier)] == [identifier]
            self.active = [active for active in self.active if active[0] != identifier]
        else:
            with pytest.raises(ApiError) as error:
                self.session.unsubscribe(identifier)
            assert code(error) == -2036

    @rule()
    def unsubscribe_all(self):
        assert [one.identifier for one in self.session.unsubscribe(None)] == [active[0] for active in self.active]
        self.active = []

    @invariant()
    def shows_what_is_active(self):
        shown = [(one.identifier, one.account, one.by_logon) for one in self.session.subscriptions]
        assert shown == self.active
        status = self.session.status(9, False, True)
        assert status["userDataStream"] is bool(self.active)
        assert (status["apiKey"] is None) is (self.logged_on is None)


TestSession = SessionMachine.TestCase


def test_status_tells_times_in_the_unit_asked_for():
    session = Session(1_784_600_000_123_456)
    session.log_on(ALL[0], KEY, 1_784_600_001_000_999)
    assert session.status(1_784_600_002_000_000, False, False) == {
        "apiKey": "key-1",
        "authorizedSince": 1_784_600_001_000,
        "connectedSince": 1_784_600_000_123,
        "returnRateLimits": False,
        "serverTime": 1_784_600_002_000,
        "userDataStream": False,
    }
    assert session.status(1_784_600_002_000_000, True, False)["authorizedSince"] == 1_784_600_001_000_999


def test_a_second_logon_replaces_the_key_and_leaves_subscriptions():
    session = Session(0)
    session.log_on(ALL[0], KEY, 1)
    session.subscribe_logged_on()
    session.log_on(ALL[1], ApiKey("key-2", KeyKind.HMAC, b"other"), 2)
    assert session.status(3, True, True)["apiKey"] == "key-2"
    assert session.subscribe_logged_on().identifier == 1
    assert [one.account for one in session.subscriptions] == ALL[:2]


def test_the_default_limit_of_identifiers_is_that_of_the_venue():
    session = Session(0)
    for _ in range(65_535):
        session.unsubscribe(session.subscribe(ALL[0]).identifier)
    with pytest.raises(ApiError) as error:
        session.subscribe(ALL[0])
    assert code(error) == -2042
