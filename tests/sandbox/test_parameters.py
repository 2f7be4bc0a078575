import pytest

from binmon.sandbox.parameters import ApiError, Parameters


def code(action):
    with pytest.raises(ApiError) as caught:
        action()
    return caught.value.code


def test_values_are_read():
    parameters = Parameters("symbol=%E8%BF%99456&limit=7&startTime=1784600000123456&flag=TRUE&symbols=")
    assert parameters.text("symbol") == "这456"
    assert parameters.limit(100, 5) == 5
    assert Parameters("").limit(100, 5000) == 100
    assert parameters.moment_ms("startTime") == 1784600000123
    assert parameters.moment_ms("endTime") is None
    assert parameters.boolean("flag", False) is True


@pytest.mark.parametrize(
    ("query", "read", "expected"),
    [
        ("", lambda p: p.text("symbol"), -1102),
        ("symbol=", lambda p: p.text("symbol"), -1102),
        ("limit=x", lambda p: p.limit(1, 2), -1100),
        ("limit=0", lambda p: p.limit(1, 2), -1130),
        ("limit=", lambda p: p.limit(1, 2), -1105),
        ("limit=99999999999999999999", lambda p: p.limit(1, 2), -1108),
        ("symbolStatus=OPEN", lambda p: p.symbol_status(), -1122),
        ("symbols=[", lambda p: p.symbols(), -1135),
        ("symbols=[]", lambda p: p.symbols(), -1130),
        ('symbols=["A","A"]', lambda p: p.symbols(), -1151),
        ('symbols=["A"]&symbol=B', lambda p: p.symbols(), -1128),
        ("a=1&b=2", lambda p: p.check_known(("a",)), -1104),
        ("a=1&a=2", lambda p: p.check_known(("a",)), -1101),
        ("flag=maybe", lambda p: p.boolean("flag", True), -1130),
    ],
)
def test_wrong_values_have_the_venues_codes(query, read, expected):
    assert code(lambda: read(Parameters(query))) == expected


def test_error_body():
    assert ApiError(400, -1121, "Invalid symbol.").body() == '{"code":-1121,"msg":"Invalid symbol."}'
