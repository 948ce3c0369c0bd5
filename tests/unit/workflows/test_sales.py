"""The steps of ``sales.toml``, one by one."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sales import evaluate, prepare, train


def test_sales_are_the_same_for_the_same_seed() -> None:
    first, second, other = (prepare.make_sales(3, 5, seed) for seed in (1, 1, 2))
    assert first.equals(second)
    assert not first.equals(other)
    assert len(first) == 3 * 5 * 3
    assert first["week"].is_monotonic_increasing
    assert list(first.columns) == ["week", "store", "brand", "price", "advertised", "units"]


def test_half_of_the_weeks_are_in_each_file(tmp_path: Path) -> None:
    prepare.main({}, {"sales": str(tmp_path / "weeks")}, {"stores": 2, "weeks": 8, "seed": 1})
    weeks = [sorted(pd.read_csv(tmp_path / "weeks" / name)["week"].unique()) for name in ("year-1.csv", "year-2.csv")]
    assert weeks == [[1, 2, 3, 4], [5, 6, 7, 8]]


def exact_sales() -> pd.DataFrame:
    """log(units + 1) = 5 - 2 log(price) + 0.5 advertised, without noise and not rounded."""
    price, advertised = np.array([1.5, 2.0, 3.0, 2.5]), np.array([False, True, False, True])
    units = np.exp(5 - 2 * np.log(price) + 0.5 * advertised) - 1
    return pd.DataFrame({"price": price, "advertised": advertised, "units": units})


def test_the_model_is_found_where_nothing_hides_it() -> None:
    sales = exact_sales()
    model = train.fit(sales)
    assert model == pytest.approx({"level": 5.0, "by_price": -2.0, "by_advertising": 0.5})
    assert train.predict(model, sales) == pytest.approx(sales["units"].to_numpy(), rel=1e-4)


def test_a_model_is_written_and_a_row_returned(tmp_path: Path) -> None:
    context = SimpleNamespace(partition_key_value={"store": 7, "brand": "dawn"}, output_dir=tmp_path)
    rows = train.run(exact_sales(), context)
    assert rows == [{"store": 7, "brand": "dawn", "weeks": 4, "error": 0.0, "model": "7-dawn.json"}]
    model = json.loads((tmp_path / "7-dawn.json").read_text())
    assert (model["store"], model["brand"], model["by_price"]) == (7, "dawn", pytest.approx(-2.0))


FITS = pd.DataFrame(
    {
        "store": [1, 1, 2],
        "brand": ["a", "b", "a"],
        "weeks": [4, 4, 3],
        "error": [0.1, 0.3, 0.2],
        "model": ["1-a.json", "1-b.json", "2-a.json"],
    }
)


def test_the_summary_of_three_models() -> None:
    assert evaluate.summary(FITS) == {
        "models": 3,
        "rows": 11,
        "error": 0.2,
        "by_brand": {"a": 0.15, "b": 0.3},
        "worst": {"model": "1-b.json", "error": 0.3},
    }


def test_a_model_without_its_file_is_an_error(tmp_path: Path) -> None:
    FITS.to_csv(tmp_path / "fits.csv", index=False)
    (tmp_path / "models").mkdir()
    for name in ("1-a.json", "2-a.json"):
        (tmp_path / "models" / name).write_text("{}")
    paths = {
        "fits": str(tmp_path / "fits.csv"),
        "models": str(tmp_path / "models"),
        "metrics": str(tmp_path / "m.json"),
    }
    with pytest.raises(ValueError, match=r"no file for 1 of 3 models, the first is 1-b.json"):
        evaluate.main(paths, paths, {"max_error": 1.0})
    (tmp_path / "models" / "1-b.json").write_text("{}")
    evaluate.main(paths, paths, {"max_error": 1.0})
    with pytest.raises(ValueError, match=r"error=0.2000 is above max_error=0.1"):
        evaluate.main(paths, paths, {"max_error": 0.1})
