"""The ``prepare`` step: weekly sales of three brands in many stores, made up.

Columns: week, store, brand, price, advertised, units.  Units fall with the price and rise with advertising, by how much
depends on the brand; stores differ in size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

BRANDS = {"dawn": (-3.0, 0.3), "grove": (-2.0, 0.5), "sunny": (-1.2, 0.2)}
"""Of each how its sales, as logarithms, change with the logarithm of the price, and with advertising."""
NOISE = 0.1


def main(inputs: Mapping[str, str], outputs: Mapping[str, str], args: Mapping[str, Any]) -> None:
    """Write two files, the first and the second half of ``args["weeks"]`` weeks, of ``args["stores"]`` stores."""
    folder, weeks = Path(outputs["sales"]), int(args["weeks"])
    folder.mkdir(parents=True, exist_ok=True)
    sales = make_sales(int(args["stores"]), weeks, int(args["seed"]))
    first = sales["week"] <= weeks // 2
    sales[first].to_csv(folder / "year-1.csv", index=False)
    sales[~first].to_csv(folder / "year-2.csv", index=False)
    print(f"{len(sales):,} rows: {weeks} weeks, {args['stores']} stores, {len(BRANDS)} brands", flush=True)


def make_sales(stores: int, weeks: int, seed: int) -> pd.DataFrame:
    """All sales in the order of the weeks, from week 1 and store 1."""
    chance = np.random.default_rng(seed)
    sizes = chance.uniform(5.0, 7.0, stores)
    index = pd.MultiIndex.from_product([range(1, weeks + 1), range(1, stores + 1), BRANDS])
    week, store, brand = (index.get_level_values(level) for level in range(3))
    price = chance.uniform(1.5, 3.5, len(index)).round(2)
    advertised = chance.random(len(index)) < 0.25
    by_price, by_advertising = (np.array([BRANDS[one][part] for one in brand]) for part in (0, 1))
    expected = sizes[store - 1] + by_price * np.log(price) + by_advertising * advertised
    units = chance.poisson(np.exp(expected + chance.normal(0, NOISE, len(index))))
    return pd.DataFrame(
        {"week": week, "store": store, "brand": brand, "price": price, "advertised": advertised, "units": units}
    )
