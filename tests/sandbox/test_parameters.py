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
        ("price=1.123456789", lambda p: p.decimal_e8("price"), -1111),
        ("price=+1", lambda p: p.decimal_e8("price"), -1100),
        ("price=1e5", lambda p: p.decimal_e8("price"), -1100),
        ("price=.5", lambda p: p.decimal_e8("price"), -1100),
        ("price=99999999999999", lambda p: p.decimal_e8("price"), -1108),
        ("price=", lambda p: p.decimal_e8("price"), -1105),
    ],
)
def test_wrong_values_have_the_venues_codes(query, read, expected):
    assert code(lambda: read(Parameters(query))) == expected


def test_error_body():
    assert ApiError(400, -1121, "Invalid symbol.").body() == '{"code":-1121,"msg":"Invalid symbol."}'


def test_an_error_may_carry_data():
    error = ApiError(409, -2021, "Partly.", '{"a":null}')
    assert error.body() == '{"code":-2021,"msg":"Partly.","data":{"a":null}}'


def test_a_constant_error_does_not_gather_tracebacks():
    constant = ApiError(400, -1, "x")
    for _ in range(3):
        with pytest.raises(ApiError) as caught:
            raise constant.fresh()
        assert caught.value == constant
    assert constant.__traceback__ is None


def test_decimals():
    assert Parameters("price=52000.00").decimal_e8("price") == 5_200_000_000_000
    assert Parameters("price=0.10000000000").decimal_e8("price") == 10_000_000
    assert Parameters("").decimal_e8("price") is None


def test_of_a_parameter_in_query_and_body_the_query_counts():
    parameters = Parameters("a=1&b=2", "b=3&c=4")
    assert [parameters.text(name) for name in "abc"] == ["1", "2", "4"]
    parameters.check_known("abc")
    assert code(lambda: Parameters("a=1", "b=2&b=3").check_known("ab")) == -1101


def test_parameters_of_a_json_object():
    parameters = Parameters.of({"symbol": "这", "limit": 5, "flag": True, "symbols": ["A", "这"], "empty": None})
    assert parameters.text("symbol") == "这"
    assert parameters.integer("limit") == 5
    assert parameters.boolean("flag", False) is True
    assert code(lambda: parameters.text("empty")) == -1102
    assert Parameters.of({"symbols": ["A", "这"]}).symbols() == ["A", "这"]
