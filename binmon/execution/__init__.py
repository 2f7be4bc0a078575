"""Where an order is best sent: quotes over venues, the effective price for a size, the choice, the split, the plan.

All of it is arithmetic without I/O: whoever calls brings depths, rules, fees and balances, and sends the plan through
`binmon.orders`. Prices, quantities and amounts are exact from end to end (`exact`).
"""
