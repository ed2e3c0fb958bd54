#!/usr/bin/env python3
"""Counts a file of trades, by itself: what `annals demo` must agree with.

    trades_check.py FILE [--rows N]

FILE is a CSV with the columns timestamp (milliseconds since 1970, UTC), price and size (USD,
negative where the seller was the taker), plain or compressed as .zst or .gz. Prints one JSON
object: trades, volume_usd, candles (one-minute buckets that hold a trade), last_price. Decimals
are text, without trailing zeros. Nothing but Python's standard library, and `zstd` for .zst.
"""

import csv
import gzip
import io
import json
import subprocess
import sys
from decimal import Decimal


def lines(path):
    """The lines of the file, whatever it is compressed with."""
    if path.endswith(".zst"):
        done = subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE)
        return io.StringIO(done.stdout.decode())
    if path.endswith(".gz"):
        return gzip.open(path, "rt", newline="")
    return open(path, newline="")


def plain(number):
    """The number as text, without an exponent and without trailing zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(path, rows=None):
    trades, volume, minutes, last = 0, Decimal(0), set(), None
    with lines(path) as text:
        for row in csv.DictReader(text):
            if rows is not None and trades == rows:
                break
            trades += 1
            volume += abs(Decimal(row["size"]))
            minutes.add(int(row["timestamp"]) // 60_000)
            last = Decimal(row["price"])
    return {
        "trades": trades,
        "volume_usd": plain(volume),
        "candles": len(minutes),
        "last_price": None if last is None else plain(last),
    }


if __name__ == "__main__":
    arguments = sys.argv[1:]
    limit = None
    if "--rows" in arguments:
        place = arguments.index("--rows")
        limit = int(arguments[place + 1])
        del arguments[place:place + 2]
    if len(arguments) != 1:
        sys.exit(__doc__)
    print(json.dumps(count(arguments[0], limit)))
