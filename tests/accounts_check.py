#!/usr/bin/env python3
"""Works out every account from the amounts in its events, and holds the read model against that.

    accounts_check.py EVENTS ROWS

EVENTS is what `annals events read --json` prints, one event a line; ROWS is a JSON list of the rows
of `trading_accounts`. Only amounts, fees, prices and quantities are read from the events, never the
balances that they carry. Decimals throughout; nothing may differ by a single digit:

  cash          = deposits - withdrawals - bought + sold - fees
  over all      : cash + cost of open positions = deposits - withdrawals + realised - fees

Prints what was checked as one JSON object, and ends with 1 and the differences if there are any.
"""

import json
import sys
from collections import defaultdict
from decimal import Decimal, getcontext

getcontext().prec = 60


class Account:
    def __init__(self):
        self.deposited = self.withdrawn = self.bought = self.sold = Decimal(0)
        self.fees = self.realised = Decimal(0)
        self.positions = defaultdict(lambda: Decimal(0))
        self.cost = defaultdict(lambda: Decimal(0))

    def cash(self):
        return self.deposited - self.withdrawn - self.bought + self.sold - self.fees


def fold(lines):
    accounts, fills = defaultdict(Account), 0
    for line in lines:
        if not line.strip():
            continue
        event = json.loads(line, parse_float=Decimal)
        kind, data = event["type"], event["data"]
        if not kind.startswith("trading."):
            continue
        account = accounts[data["account"]]
        if kind == "trading.CashDeposited":
            account.deposited += Decimal(data["amount"])
        elif kind == "trading.CashWithdrawn":
            account.withdrawn += Decimal(data["amount"])
        elif kind in ("trading.OrderPartiallyFilled", "trading.OrderFilled"):
            fills += 1
            quantity, notional = Decimal(data["quantity"]), Decimal(data["notional"])
            account.fees += Decimal(data["fee"])
            account.realised += Decimal(data["realised_pnl"])
            account.cost[data["instrument"]] = Decimal(data["position_cost"])
            if data["side"] == "buy":
                account.bought += notional
                account.positions[data["instrument"]] += quantity
            else:
                account.sold += notional
                account.positions[data["instrument"]] -= quantity
    return accounts, fills


def main(events, rows):
    with open(events) as lines:
        accounts, fills = fold(lines)
    with open(rows) as text:
        table = {row["account"]: row for row in json.load(text, parse_float=Decimal)}
    wrong = []
    if set(table) != set(accounts):
        wrong.append(f"accounts differ: {sorted(set(table) ^ set(accounts))}")
    for name, account in sorted(accounts.items()):
        row = table.get(name)
        if row is None:
            continue
        for column, expected in (
            ("cash", account.cash()),
            ("realised_pnl", account.realised),
            ("fees", account.fees),
        ):
            if Decimal(str(row[column])) != expected:
                wrong.append(f"{name}.{column} is {row[column]}, the events say {expected}")
        if account.cash() < 0:
            wrong.append(f"{name} has negative cash: {account.cash()}")
        for instrument, quantity in account.positions.items():
            if quantity < 0:
                wrong.append(f"{name} is short of {instrument}: {quantity}")
    everyone = accounts.values()
    cash = sum((account.cash() for account in everyone), Decimal(0))
    cost = sum((sum(account.cost.values(), Decimal(0)) for account in everyone), Decimal(0))
    paid_in = sum((account.deposited - account.withdrawn for account in everyone), Decimal(0))
    earned = sum((account.realised - account.fees for account in everyone), Decimal(0))
    if cash + cost != paid_in + earned:
        wrong.append(f"cash {cash} + cost {cost} is not paid in {paid_in} + earned {earned}")
    if wrong:
        sys.exit("\n".join(wrong))
    print(json.dumps({"accounts": len(accounts), "fills": fills, "cash": str(cash)}))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
