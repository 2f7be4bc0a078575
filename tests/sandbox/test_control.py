import json

import pytest

from binmon.sandbox import control


@pytest.fixture
def subscriptions():
    return control.Subscriptions(False, 3, lambda streams: None, lambda stream: None)


@pytest.fixture
def ask(subscriptions):
    def send(request):
        text = request if isinstance(request, str) else json.dumps(request)
        return json.loads(control.answer(text, subscriptions))

    return send


def test_subscribe_list_and_unsubscribe(ask, subscriptions):
    assert ask({"method": "SUBSCRIBE", "params": ["a@trade", "nonsense"], "id": 1}) == {
        "result": None,
        "id": 1,
    }
    assert ask({"method": "LIST_SUBSCRIPTIONS", "id": "db250146-4ceb-4917-90a3-edd8f255c891"}) == {
        "result": ["a@trade", "nonsense"],
        "id": "db250146-4ceb-4917-90a3-edd8f255c891",
    }
    assert ask({"method": "UNSUBSCRIBE", "params": ["a@trade", "other"], "id": None}) == {
        "result": None,
        "id": None,
    }
    assert list(subscriptions.streams) == ["nonsense"]


def test_properties(ask, subscriptions):
    assert ask({"method": "GET_PROPERTY", "params": ["combined"], "id": 5}) == {"result": False, "id": 5}
    assert ask({"method": "SET_PROPERTY", "params": ["combined", True], "id": 4}) == {"result": None, "id": 4}
    assert subscriptions.combined


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ({"method": "SET_PROPERTY", "params": ["colour", True], "id": 1}, 0, "Unknown property"),
        (
            {"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1},
            1,
            "Invalid value type: expected Boolean",
        ),
        ({"method": "GET_PROPERTY", "params": [], "id": 1}, 2, "property name must be a string"),
        ({"method": "SUBSCRIBE", "params": ["a"]}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": ["a"], "id": True}, 2, "request ID must be an unsigned integer"),
        (
            {"method": "SUBSCRIBE", "params": ["a"], "id": "x" * 37},
            2,
            "request ID must be an unsigned integer",
        ),
        (
            {"method": "JUMP", "id": 1},
            2,
            "unknown variant `JUMP`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`",
        ),
        ({"method": "LIST_SUBSCRIPTIONS", "params": ["x"], "id": 1}, 2, "too many parameters"),
        ({"params": []}, 2, "missing field `method`"),
        ("{nope", 3, "Invalid JSON: expected value at line 1 column"),
        ({"method": "SUBSCRIBE", "params": ["a", "b", "c", "d"], "id": 1}, 2, "more than 3 streams"),
        ({"method": "SUBSCRIBE", "params": [1], "id": 1}, 2, "array of stream names"),
    ],
)
def test_errors_are_flat(ask, subscriptions, request_, code, text):
    reply = ask(request_)
    assert reply["code"] == code
    assert text in reply["msg"]
    assert not subscriptions.streams
