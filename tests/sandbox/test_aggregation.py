from binmon.sandbox.aggregation import DiffAggregation
from binmon.sandbox.matching import LevelChange, Side


def test_aggregation_keeps_the_newest_quantity_best_first():
    aggregation = DiffAggregation()
    for number, (price, quantity) in enumerate([(10, 1), (12, 2), (10, 0)], start=5):
        aggregation.add(LevelChange(number, Side.BUY, price, quantity))
    assert (aggregation.first_id, aggregation.last_id) == (5, 7)
    assert aggregation.side(Side.BUY) == [(12, 2), (10, 0)]
    aggregation.clear()
    assert aggregation.first_id == 0 and aggregation.side(Side.BUY) == []
