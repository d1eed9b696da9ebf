"""Derives `tables/monthly_statistics.csv` from two real records: python -m ldas.pipeline.twin.derive_statistics FOLDER.

FOLDER holds the half hours of HAPEX-MOBILHY at Caumont (1986) and the daily FLUXNET record of Puechabon (2000-2014).
Definitions, the same for both, per calendar month over all its days:

* a day is wet from 1 mm on; smaller amounts are added to the wet days' mean, so that the month's total is kept;
* clearness: daily shortwave over that on top of the atmosphere; emissivity: longwave over sigma T^4 of the daily mean;
* humidity: daily mean vapour pressure over saturation at the daily mean temperature;
* `_dry` and `_wet` are means over the days of that class, `_deviation` standard deviations within the class.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from ldas.landmodel.array_types import Array
from ldas.pipeline.forcing import physics
from ldas.pipeline.ingest.daily import SOLAR_CONSTANT
from ldas.pipeline.ingest.fluxnet import read_daily_forcing
from ldas.pipeline.twin.climate import STEFAN_BOLTZMANN, WET_DAY

HAPEX = "HAPEX_1986_30min_forcing.txt"
PUECHABON = "FLX_FR-Pue_FLUXDATAKIT_FULLSET_DD_2000_2014_2-3.csv"
TABLE = Path(__file__).parent / "tables" / "monthly_statistics.csv"
SITES = {"caumont": (43.68, -0.10, 113.0), "puechabon": (43.74, 3.60, 270.0)}  # latitude, longitude, elevation (m)
HEADER = """\
# Monthly statistics of daily weather at two places, from which the twin's weather generator draws.
# Made by `python -m ldas.pipeline.twin.derive_statistics FOLDER` (definitions there) from
#   caumont: HAPEX-MOBILHY 1986, Caumont (43.68N 0.10W, 113 m), half-hourly forcing of the SURFEX test case, CeCILL-C
#     (joewkr/open-SURFEX, MY_RUN/DATA/hapex, commit 70d23957e90ac9dfe4f076669f78e967a5e234e3);
#   puechabon: FLUXNET2015 FR-Pue (43.74N 3.60E, 270 m) 2000-2014, daily, CC-BY-4.0, in the FluxDataKit version
#     (geco-bern/cwd, inst/extdata, commit c4a2aa89b7ff213cd4a0a6fea3bff7eda05b402a).
# Puechabon's daily temperature range is not in its record: it is the difference of daytime and daily mean times the
# ratio of the range to that difference at Caumont in the same month.
"""


def top_of_atmosphere(days: pd.DatetimeIndex, latitude: float) -> Array:
    """Mean shortwave radiation on a horizontal plane on top of the atmosphere of each day, W m-2."""
    hours = days.to_numpy()[:, None] + np.arange(24).astype("timedelta64[h]") + np.timedelta64(30, "m")
    height = np.maximum(physics.cosine_zenith(hours, latitude, 0.0), 0.0).mean(axis=1)
    return np.asarray(
        SOLAR_CONSTANT * (1.0 + 0.033 * np.cos(2.0 * np.pi * days.day_of_year.to_numpy() / 365.25)) * height
    )


def caumont_days(folder: Path) -> pd.DataFrame:
    """Daily values at Caumont in 1986 (UTC days)."""
    names = ["SW", "LW", "rain", "T", "U", "V", "P", "Q"]
    table = pd.read_csv(folder / HAPEX, sep=r"\s+", comment="#", names=names)
    table.index = pd.date_range("1986-01-01", periods=len(table), freq="30min")
    table["wind"] = np.hypot(table["U"], table["V"])
    table["vapour"] = physics.vapour_pressure(table["Q"].to_numpy(), table["P"].to_numpy())
    # Rates belong to the half hour that ends at their time.
    rain = (table["rain"].shift(-1) * 1800.0).resample("D").sum()
    days = table.drop(columns="rain").iloc[:-1].resample("D").mean()
    hourly = table["T"].iloc[:-1].resample("h").first()
    daylight = table["SW"].iloc[:-1].resample("h").first() > 0.0
    days["range"] = hourly.resample("D").max() - hourly.resample("D").min()
    days["daytime"] = hourly.where(daylight).resample("D").mean()
    return days.assign(rain=rain.reindex(days.index))


def puechabon_days(folder: Path, range_ratio: pd.Series) -> pd.DataFrame:
    """Daily values at Puechabon.

    Args:
        range_ratio: temperature range over (daytime - daily mean) by month.
    """
    record = read_daily_forcing(folder / PUECHABON).to_dataframe()
    days = pd.DataFrame(
        {
            "SW": record["shortwave"],
            "LW": record["longwave"],
            "rain": record["precipitation"],
            "T": record["temperature"],
            "P": record["pressure"],
            "wind": record["wind"],
            "daytime": record["temperature_daytime"],
        }
    )
    index = pd.DatetimeIndex(days.index)
    days["range"] = (days["daytime"] - days["T"]).clip(lower=0.5) * range_ratio.reindex(index.month).to_numpy()
    # Mean saturation pressure of a day: over the sine of its range, not at its mean.
    phase = np.sin(2.0 * np.pi * np.arange(24) / 24.0)
    course = days["T"].to_numpy()[:, None] + 0.5 * days["range"].to_numpy()[:, None] * phase
    saturation = physics.saturation_vapour_pressure(course).mean(axis=1)
    days["vapour"] = np.maximum(saturation - record["vapour_pressure_deficit"].to_numpy(), 50.0)
    return days


def monthly(site: str, days: pd.DataFrame) -> pd.DataFrame:
    """The statistics of a site, one row a month."""
    latitude = SITES[site][0]
    index = pd.DatetimeIndex(days.index)
    days = days.assign(
        month=index.month,
        wet=days["rain"] >= WET_DAY,
        clearness=days["SW"] / top_of_atmosphere(index, latitude),
        emissivity=days["LW"] / (STEFAN_BOLTZMANN * days["T"] ** 4),
        humidity=days["vapour"] / physics.saturation_vapour_pressure(days["T"].to_numpy()),
    )
    days["before"] = days["wet"].shift(1)
    rows = [_month(site, month, part) for month, part in days.groupby("month")]
    table = pd.DataFrame(rows)
    for name in ("temperature", "clearness", "humidity", "wind", "pressure"):
        table[f"{name}_persistence"] = _lag_one(days, name)
    return table


def _month(site: str, month: object, days: pd.DataFrame) -> dict[str, object]:
    wet, dry = days[days["wet"]], days[~days["wet"]]
    share, amount = float(days["wet"].mean()), float(days["rain"].sum() / days["wet"].sum())
    after_wet = float(days.loc[days["before"] == True, "wet"].mean())  # noqa: E712  (the first day has no day before)
    difference = float(wet["T"].mean() - dry["T"].mean())
    residual = np.where(days["wet"], days["T"] - wet["T"].mean(), days["T"] - dry["T"].mean())
    row: dict[str, object] = {
        "site": site,
        "month": month,
        "days": len(days),
        "temperature": days["T"].mean(),
        "temperature_wet_minus_dry": difference,
        "temperature_deviation": residual.std(),
        "wet_share": share,
        "wet_persistence": latent_persistence(share, after_wet),
        "wet_amount": amount,
        "wet_amount_variation": wet["rain"].std() / wet["rain"].mean(),
        "wind": days["wind"].mean(),
        "wind_deviation": days["wind"].std(),
        "pressure": days["P"].mean(),
        "pressure_deviation": days["P"].std(),
    }
    for name in ("range", "clearness", "humidity", "emissivity"):
        row |= {f"{name}_dry": dry[name].mean(), f"{name}_wet": wet[name].mean()}
    for name in ("clearness", "humidity"):
        row |= {f"{name}_deviation_dry": dry[name].std(), f"{name}_deviation_wet": wet[name].std()}
    row["emissivity_slope"] = _slope(days, "emissivity", "clearness")
    row["correlation_temperature_clearness"] = _within_class(days, "T", "clearness")
    row["correlation_humidity_clearness"] = _within_class(days, "humidity", "clearness")
    return row


def latent_persistence(share: float, after_wet: float) -> float:
    """Correlation of two normal variables both above the threshold of wet days with probability share x after_wet."""
    threshold = float(norm.isf(share))

    def excess(correlation: float) -> float:
        covariance = [[1.0, correlation], [correlation, 1.0]]
        return float(multivariate_normal.cdf([-threshold, -threshold], cov=covariance)) - share * after_wet

    return 0.0 if excess(0.0) >= 0.0 else float(brentq(excess, 0.0, 0.99))


def _centred(days: pd.DataFrame, name: str) -> pd.Series:
    """Departures from the mean of month and class (wet, dry)."""
    return days[name] - days.groupby(["month", "wet"])[name].transform("mean")


def _slope(days: pd.DataFrame, of: str, to: str) -> float:
    y, x = _centred(days, of), _centred(days, to)
    return float((x * y).sum() / (x * x).sum())


def _within_class(days: pd.DataFrame, first: str, second: str) -> float:
    return float(_centred(days, first).corr(_centred(days, second)))


def _lag_one(days: pd.DataFrame, name: str) -> Array:
    """Correlation from day to day of the departures, by month."""
    column = {"temperature": "T", "pressure": "P"}.get(name, name)
    departure = _centred(days, column)
    pairs = pd.DataFrame({"now": departure, "before": departure.shift(1), "month": days["month"]}).dropna()
    return np.array([part["now"].corr(part["before"]) for _, part in pairs.groupby("month")])


def derive(folder: Path) -> pd.DataFrame:
    """The table of both sites, from the folder with the two records."""
    caumont = caumont_days(folder)
    month = pd.DatetimeIndex(caumont.index).month
    ratio = caumont["range"].groupby(month).mean() / (caumont["daytime"] - caumont["T"]).groupby(month).mean()
    tables = [monthly("caumont", caumont), monthly("puechabon", puechabon_days(folder, ratio))]
    return pd.concat(tables, ignore_index=True)


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the two records")
    table = derive(parser.parse_args().folder)
    TABLE.write_text(HEADER + table.to_csv(index=False, float_format="%.5g"), encoding="utf-8")


if __name__ == "__main__":
    main()
