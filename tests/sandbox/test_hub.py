import json

import pytest

from binmon.sandbox.hub import Message, StreamHub


class Listener:
    def __init__(self, identifier):
        self.identifier = identifier
        self.backlog_bytes = identifier
        self.messages = []
        self.flushed = 0

    def deliver(self, message):
        self.messages.append(message)

    def flush(self):
        self.flushed += 1


@pytest.fixture
def listeners():
    return Listener(1), Listener(2)


def test_event_is_printed_once_and_goes_to_subscribers_only(listeners):
    hub, printed = StreamHub(), []

    def printer(micro):
        printed.append(micro)
        return '{"x":1}'

    hub.publish("a", "A", printer)
    for listener in listeners:
        hub.subscribe(listener, ["a", "b"])
    hub.publish("a", "A", printer)
    frames = {listener.messages[0].frame(True, False) for listener in listeners}
    assert len(frames) == 1
    assert printed == [False]
    assert json.loads(frames.pop()[2:]) == {"stream": "a", "data": {"x": 1}}
    hub.unsubscribe(listeners[0], "a")
    hub.publish("a", "A", printer)
    assert [len(listener.messages) for listener in listeners] == [1, 2]
    hub.flush()
    hub.flush()
    assert [listener.flushed for listener in listeners] == [1, 1]
    assert hub.wanted("a") and not hub.wanted("c")
    assert hub.largest_backlog() == 2
    hub.unsubscribe(listeners[1], "a")
    assert not hub.wanted("a")
    assert sorted(hub.wanted_streams()) == ["b"]


def test_subscribing_twice_delivers_once(listeners):
    hub, named = StreamHub(), []
    hub.on_subscribe = named.append
    hub.subscribe(listeners[0], ["a"])
    hub.subscribe(listeners[0], ["a"])
    hub.publish("a", "A", lambda micro: "{}")
    assert len(listeners[0].messages) == 1
    assert named == [["a"], ["a"]]


def test_interceptor_changes_what_each_gets(listeners):
    class Drop:
        armed = True

        def begin(self, message, subscribers):
            return message.stream == "a"

        def rewrite(self, message, subscriber):
            return [] if subscriber.identifier == 1 else [message, message]

        def release(self):
            return []

    hub = StreamHub()
    hub.interceptor = Drop()
    for listener in listeners:
        hub.subscribe(listener, ["a", "b"])
    hub.publish("a", "A", lambda micro: "{}")
    assert [len(listener.messages) for listener in listeners] == [0, 2]
    hub.publish("b", "A", lambda micro: "{}")
    assert [len(listener.messages) for listener in listeners] == [1, 3]


def test_message_prints_each_unit_separately():
    message = Message("s", "S", lambda micro: str(1000 if micro else 1))
    assert message.text(False, True) == "1000"
    assert message.text(True, False) == '{"stream":"s","data":1}'
