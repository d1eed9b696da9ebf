"""Draws the pictures of the documentation into docs/images/.

    python docs/make_pictures.py [STORE]

STORE is the finished run of examples/southwest_france_short.yaml (SYNTHETIC); without it only the drawings are made.
"""

import argparse
import runpy
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import ldas
from ldas.pipeline import registry
from ldas.pipeline.site.conformance import TOLERANCES
from ldas.pipeline.store.grid import to_grid

IMAGES = Path(__file__).parent / "images"
OPEN_LOOP, ANALYSIS, TRUTH, OBSERVED = "#b35806", "#2166ac", "#333333", "#1a9850"


def map_and_series(store: str, path: Path) -> None:
    """The change of the LAI error of the 24 h forecast by assimilation, and LAI in one cell."""
    tree = ldas.open_run(store)
    analysed, open_loop, truth = (tree[name].to_dataset() for name in ("runs/EKF", "runs/open_loop", "truth"))
    days = analysed["time"]
    true = truth["LAI"].sel(time=days).compute()
    free = open_loop["LAI"].sel(time=days).compute()
    error = [np.sqrt(((run - true) ** 2).mean("time")) for run in (analysed["LAI_forecast"].compute(), free)]
    change = error[0] - error[1]
    land = tree["land"].to_dataset().load()
    grid = to_grid(change, land["latitude"], land["longitude"])
    cell = int(np.argsort(change.values)[change.size // 4])  # a quarter of the cells improve more

    style = {"font.size": 11, "svg.hashsalt": "ldas"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(10.0, 3.9), layout="constrained", facecolor="white")
        figure.get_layout_engine().set(wspace=0.06)
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.35))
        bound = float(np.quantile(abs(change), 0.98))
        longitude, latitude = grid["longitude"].values, grid["latitude"].values
        drawn = left.pcolormesh(
            longitude, latitude, grid.transpose("latitude", "longitude").values, cmap="RdBu_r", vmin=-bound, vmax=bound
        )
        figure.colorbar(drawn, ax=left, label="change of RMSD (m2 m-2)", extend="both", pad=0.02)
        left.set_facecolor("#bbbbbb")  # no cell
        left.plot(land["longitude"][cell], land["latitude"][cell], "ks", markersize=9, fillstyle="none")
        share = float((change < 0).mean())
        left.set_title(f"LAI error, EKF - open loop\nbetter in {share:.0%} of {change.size} cells", fontsize=12)
        left.set(xlabel="longitude", ylabel="latitude", aspect=1.0 / np.cos(np.deg2rad(44.0)))

        lai = tree["observations/lai"].to_dataset().isel(cell=cell).load()
        seen = lai["value"].sel(time=slice(days[0], days[-1])).dropna("time")
        right.plot(days, true.isel(cell=cell), color=TRUTH, linewidth=1.2, label="truth (synthetic)")
        right.plot(days, free.isel(cell=cell), color=OPEN_LOOP, linewidth=1.8, label="open loop")
        right.plot(days, analysed["LAI"].isel(cell=cell), color=ANALYSIS, linewidth=1.8, label="analysis (of sigma40)")
        right.plot(seen["time"], seen, "o", color=OBSERVED, markersize=4, label="LAI observed, not assimilated")
        right.set_title("LAI in the marked cell (m2 m-2)", fontsize=12)
        right.set_ylim(0.0, 1.45 * max(float(seen.max()), float(true.isel(cell=cell).max())))
        right.legend(ncols=2, fontsize=10, frameon=False, loc="upper left")
        right.xaxis.set_major_formatter(mpl.dates.ConciseDateFormatter(right.xaxis.get_major_locator()))
        figure.supxlabel("SYNTHETIC twin of southwestern France, 2010-2011", fontsize=10)
        figure.savefig(path, dpi=110, metadata={"Software": None})


class Drawing:
    """Boxes, arrows and words as SVG on a pale card, so that it reads on light and on dark pages."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
            f'font-family="sans-serif" fill="#222"><title>{title}</title>',
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            'orient="auto">'
            '<path d="M0 0L10 5L0 10z" fill="#555"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="#fafaf7"/>',
        ]

    def box(self, x: int, y: int, width: int, height: int, *lines: str, fill: str = "#dce9f5") -> None:
        """A box whose first line is bold."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#777"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.words(x + width // 2, int(top + 18 * number), line, bold=number == 0)

    def words(self, x: int, y: int, text: str, *, bold: bool = False, anchor: str = "middle") -> None:
        """A line of text."""
        weight, size = ("bold", 15) if bold else ("normal", 14)
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">{text}</text>'
        )

    def arrow(self, *points: tuple[int, int], dashed: bool = False) -> None:
        """A line through points, with a tip at its end."""
        path = " ".join(f"{x},{y}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="#555" stroke-width="1.8"{dash} marker-end="url(#tip)"/>'
        )

    def save(self, path: Path) -> None:
        """Writes the file."""
        path.write_text("\n".join([*self.parts, "</svg>\n"]), encoding="utf-8")


GREEN, YELLOW, GREY = "#e0f0dc", "#fdf0cf", "#e8e8e8"


def data_flow(path: Path) -> None:
    """From product files to the report."""
    d = Drawing(640, 430, "Data flow of an experiment")
    d.box(20, 20, 190, 62, "product files", "ERA5, ASCAT, LAI, ...", fill=GREY)
    d.arrow((210, 51), (268, 51))
    d.words(239, 43, "ingest")
    d.box(270, 20, 350, 62, "store: land, forcing, observations", "Zarr, one root URL", fill=GREEN)
    d.arrow((340, 82), (340, 118), (115, 118), (115, 148))
    d.words(225, 112, "forcing")
    d.box(20, 150, 190, 62, "spin-up", "to equilibrium")
    d.arrow((210, 181), (238, 181))
    d.box(240, 150, 170, 62, "open loop", "ISBA, no observations")
    d.arrow((410, 181), (438, 181))
    d.box(440, 150, 180, 62, "training", "operator of each cell", fill=YELLOW)
    d.arrow((540, 82), (540, 148))
    d.words(548, 118, "sigma40", anchor="start")
    d.arrow((325, 212), (325, 258))
    d.words(317, 240, "start state", anchor="end")
    d.arrow((540, 212), (540, 289), (462, 289))
    d.words(548, 255, "operator", anchor="start")
    d.box(190, 260, 270, 62, "assimilation", "forecast, compare, correct; daily")
    d.arrow((325, 322), (325, 358))
    d.box(190, 360, 270, 52, "report", "scores, maps, one HTML page", fill=GREEN)
    d.save(path)


def window(path: Path) -> None:
    """One 24 h window of the filter."""
    d = Drawing(640, 390, "One 24 h window of the assimilation")
    for x, label in ((90, "day d-1, 09 UTC"), (520, "day d, 09 UTC")):
        d.words(x, 28, label, bold=True)
        d.parts.append(f'<line x1="{x}" y1="38" x2="{x}" y2="290" stroke="#999" stroke-dasharray="3 4"/>')
    d.arrow((90, 70), (518, 70))
    d.words(305, 62, "forecast: the model from the last analysis")
    for y, label in ((120, "perturbed: LAI"), (160, "perturbed: WG2"), (200, "... one run per control variable")):
        d.arrow((90, y + 8), (518, y), dashed=True)
        d.words(305, y - 6, label)
    d.parts.append('<circle cx="400" cy="250" r="6" fill="#1a9850"/>')
    d.words(388, 255, "observations inside the window", anchor="end")
    d.arrow((408, 250), (518, 250))
    d.box(430, 292, 190, 62, "increment", "K (y - h(x)), limited", fill=YELLOW)
    d.box(60, 292, 320, 62, "analysis = forecast + increment", "the next window starts from it", fill=GREEN)
    d.arrow((430, 323), (382, 323))
    d.words(320, 378, "The perturbed runs give the Jacobian. The increment enters at the end.")
    d.save(path)


def time_matching(path: Path) -> None:
    """One window with two overpasses, read at its end and at their own hours."""
    d = Drawing(640, 400, "One window with two overpasses: both readings")

    def across(hour: float) -> int:
        return round(60 + hour / 24.0 * 520)

    d.words(620, 28, "green: observed, blue: model", anchor="end")
    overpasses = (across(0.5), across(11.5))
    for y, title in ((60, "window_end"), (225, "overpass")):
        d.words(20, y - 32, title, bold=True, anchor="start")
        d.arrow((across(0), y + 55), (across(24), y + 55))
        for x in (across(0), across(24)):
            d.parts.append(f'<line x1="{x}" y1="{y - 8}" x2="{x}" y2="{y + 75}" stroke="#999" stroke-dasharray="3 4"/>')
        for x in overpasses:
            d.parts.append(f'<circle cx="{x}" cy="{y}" r="6" fill="#1a9850"/>')
    d.words(overpasses[0] + 12, 52, "09:30", anchor="start")
    d.words(overpasses[1] + 12, 52, "20:30", anchor="start")
    d.arrow((overpasses[0] + 8, 62), (across(23.2), 82))
    d.arrow((overpasses[1] + 8, 62), (across(23.2), 80))
    d.words(across(17.5), 105, "their mean", anchor="middle")
    d.parts.append(f'<circle cx="{across(24)}" cy="84" r="6" fill="#1a9850" stroke="#222"/>')
    d.parts.append(f'<circle cx="{across(24)}" cy="115" r="6" fill="{ANALYSIS}"/>')
    d.words(across(12), 150, "one innovation, against the model at the window's end")
    for number, x in enumerate(overpasses):
        d.arrow((x, 233), (x, 272))
        d.parts.append(f'<circle cx="{x}" cy="280" r="6" fill="{ANALYSIS}"/>')
        d.words(x + 12, 258, f"innovation {number + 1}", anchor="start")
    d.words(across(12), 316, "each against the model at its own step; two rows of H, one increment")
    d.arrow((across(24), 352), (across(24), 300))
    d.words(across(23.5), 362, "increment, at the end in both", anchor="end")
    d.words(20, 388, "day d-1, 09 UTC", anchor="start")
    d.words(620, 388, "day d, 09 UTC", anchor="end")
    d.save(path)


def store_layout(path: Path) -> None:
    """Arrays in shards, and who writes one."""
    d = Drawing(640, 360, "Layout of the store, and the writer of a shard")
    groups = ("land", "forcing", "observations/...", "operators/...", "runs/EKF", "restarts/EKF", "ledger/EKF")
    d.words(110, 32, "store.zarr", bold=True)
    for number, name in enumerate(groups):
        d.box(20, 44 + 43 * number, 180, 34, name, fill=YELLOW if name == "runs/EKF" else GREEN)
    d.arrow((200, 233), (258, 175))
    d.words(440, 32, "runs/EKF/LAI (time, cell)", bold=True)
    for row in range(3):
        for column in range(4):
            d.parts.append(
                f'<rect x="{290 + 75 * column}" y="{66 + 60 * row}" width="75" height="60" '
                f'fill="{YELLOW if (row, column) == (1, 2) else "#dce9f5"}" stroke="#777"/>'
            )
    d.words(440, 58, "blocks of cells")
    d.parts.append(
        '<text x="278" y="156" font-size="14" text-anchor="middle" transform="rotate(-90 278 156)">periods</text>'
    )
    d.box(380, 278, 200, 62, "one task", "one block, one period", fill=YELLOW)
    d.arrow((477, 278), (477, 188))
    d.words(467, 268, "writes one whole shard", anchor="end")
    d.save(path)


def rooms(path: Path) -> None:
    """The rooms on floors, each as low as its imports allow (benchmarks/rooms.py)."""
    root = IMAGES.parents[1]
    graph = runpy.run_path(str(root / "benchmarks" / "rooms.py"))["room_graph"](root)

    def floor(room: str) -> int:
        return max((floor(other) + 1 for other in graph[room]), default=0)

    floors: dict[int, list[str]] = {}
    for room in sorted(graph):
        floors.setdefault(floor(room), []).append(room)
    top = max(floors)
    width = max(640, 190 * max(map(len, floors.values())) + 20)
    d = Drawing(width, 44 * top + 124, "Rooms on their floors")
    for number, names in floors.items():
        left = width // 2 - 95 * len(names)
        for place, name in enumerate(names):
            fill = "#dce9f5" if name.startswith("pipeline.") else YELLOW
            d.box(left + 190 * place + 10, 20 + 44 * (top - number), 170, 34, name, fill=fill)
    d.words(width // 2, 44 * top + 82, "A room imports from the floors below it only.")
    d.words(width // 2, 44 * top + 104, "Yellow: libraries that know neither files nor Dask.")
    d.save(path)


def conformance(path: Path) -> None:
    """Largest differences from SURFEX of the cases of docs/conformance.md, as parts of what is allowed."""
    lines = (IMAGES.parent / "conformance.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    names, rows = cells[0][2:], cells[2:]
    left, right, lowest, highest = 205, 620, -8, 3  # pixels, and powers of ten
    scale = (right - left) / (highest - lowest)
    bottom = 62 + 26 * len(names)
    d = Drawing(640, bottom + 92, "Largest differences from SURFEX beside what is allowed")
    d.words(320, 28, "Largest difference from SURFEX / tolerance", bold=True)
    for power in range(lowest, highest + 1, 2):
        x = left + scale * (power - lowest)
        d.parts.append(f'<line x1="{x:.0f}" y1="46" x2="{x:.0f}" y2="{bottom}" stroke="#ddd"/>')
        d.words(round(x), bottom + 20, "1" if power == 0 else f"1e{power}")
    x = left - scale * lowest
    d.parts.append(f'<line x1="{x:.0f}" y1="46" x2="{x:.0f}" y2="{bottom}" stroke="#b2182b" stroke-width="2"/>')
    for number, name in enumerate(names):
        y = 66 + 26 * number
        d.words(left - 16, y + 5, f"{name} ({TOLERANCES[name]:g} {registry.variable(name).unit})", anchor="end")
        for row in rows:
            if (entry := row[2 + number]) == "-":
                continue
            part = float(entry.split("/")[1]) / TOLERANCES[name]
            place = left + scale * (max(np.log10(part), lowest) - lowest) if part > 0.0 else left
            colour = OPEN_LOOP if row[0] == "hapex_c3_dt92" else ANALYSIS
            d.parts.append(
                f'<circle cx="{place:.1f}" cy="{y}" r="4.5" fill="{colour}" fill-opacity="0.45" stroke="{colour}"/>'
            )
    d.words(
        320, bottom + 48, f"Blue: {len({row[0] for row in rows}) - 1} cases. Left edge: equal to the last digit stored."
    )
    d.words(320, bottom + 70, "Brown: hapex_c3_dt92, where the last bit of the intercepted water decides the drip.")
    d.save(path)


def main() -> None:
    """Draws everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", help="finished run of examples/southwest_france_short.yaml")
    store = parser.parse_args().store
    IMAGES.mkdir(exist_ok=True)
    data_flow(IMAGES / "data_flow.svg")
    window(IMAGES / "window.svg")
    time_matching(IMAGES / "time_matching.svg")
    store_layout(IMAGES / "store_layout.svg")
    rooms(IMAGES / "rooms.svg")
    conformance(IMAGES / "conformance.svg")
    if store:
        map_and_series(store, IMAGES / "twin_lai.png")


if __name__ == "__main__":
    main()
