"""The record as a Markdown table and as a chart; both are made from the JSON alone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import targets
from benchmarks.values import OURS

OURS_COLOUR = "#0072b2"
TITLE_WIDTH = 80
"""Characters of a line above a panel."""
PEER_COLOUR = "#b0b0b0"


def markdown(record: dict[str, Any]) -> str:
    """One table for each scenario; ratios are ``peer ÷ batchflow``, so above 1 batchflow is faster."""
    machine = record["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"{record['created']}, commit {record['commit']}, {machine['cpus_usable']} of {machine['cpus']} CPUs "
        f"({machine['cpu']}), {machine['memory_bytes'] / 2**30:.0f} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version),
        "",
        f"Medians of interleaved runs, each in its own process (least–greatest). Ratio: median of `peer ÷ batchflow` "
        f"of the same round, above 1 means that batchflow is faster. Runs in which others used more than "
        f"{record['options']['foreign_limit']:.0%} of the machine are dropped. Every result was checked. CPU of the "
        "tree is that of the whole process with its children, Python's start and imports included; peak memory "
        "and the driver's CPU come from a round of their own.",
    ]
    for scenario in record["scenarios"]:
        lines += ["", *scenario_lines(scenario)]
    if record["fits"]:
        lines += ["", "## dispatch: cost = a · items + b · mini-batches", "", *fit_lines(record["fits"])]
    return "\n".join(lines) + "\n"


def fit_lines(fits: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| | a, µs per item | b, µs per mini-batch |", "|---|---:|---:|"]
    return lines + [f"| {fit['name']} | {fit['a_us']:.3f} | {fit['b_us']:.2f} |" for fit in fits]


def scenario_lines(scenario: dict[str, Any]) -> list[str]:
    """The heading, what is measured, and the table of one scenario."""
    size = f" {scenario['items']:,} items, {scenario['mini_batches']:,} mini-batches" if scenario["items"] else ""
    workers = (
        f"{',' if size else ''} {scenario['workers']} worker{'s' if scenario['workers'] > 1 else ''}"
        if scenario["workers"]
        else ""
    )
    return [
        f"## {scenario['case']}: {scenario['title']}",
        "",
        f"{scenario['explanation']}{size}{workers}{'.' if size or workers else ''}",
        "",
        *table_lines(scenario),
        *curve_lines(scenario),
        *verdict_lines(scenario),
    ]


def table_lines(scenario: dict[str, Any]) -> list[str]:
    """The table alone.  A ratio stands where things are compared, the costs where they say something."""
    metrics, axis, costs = scenario["metrics"], scenario["axis"], scenario["shows_costs"]
    head = [axis]
    for metric in metrics:
        head += [f"{metric['title']}, {metric['unit']}"] + (["ratio"] if metric["compared"] and not axis else [])
    labelled = any(variant["correct"] is not None for variant in scenario["variants"])
    head += ["driver CPU, µs per mini-batch", "CPU of the tree, s", "peak memory (PSS), MiB"] if costs else []
    head += ["right"] if labelled else []
    head += ["runs"]
    rows = [
        variant_cells(variant, metrics, labelled=labelled, costs=costs, compared=not axis)
        for variant in scenario["variants"]
    ]
    return [
        table_row(head),
        table_row(["---"] + ["---:"] * (len(head) - 1)),
        *(table_row(row) for row in rows),
    ]


def curve_lines(scenario: dict[str, Any]) -> list[str]:
    """What was fitted: ``time ≈ 0.12 s + 0.15 s for each million items; …``."""
    metrics = {metric["key"]: metric for metric in scenario["metrics"]}
    lines = [curve_line(one, metrics[one["key"]], scenario["axis"]) for one in scenario["curves"]]
    return ["", *lines] if lines else []


def curve_line(fit: dict[str, Any], metric: dict[str, Any], axis: str) -> str:
    slope, unit, many = abs(fit["slope"]), metric["unit"], ""
    sign = "−" if fit["slope"] < 0 else "+"
    if slope < 0.01:
        slope, many = slope * 1e6, "million "
    return (
        f"- {metric['title']} ≈ {short(fit['intercept'])} {unit} {sign} {short(slope)} {unit} "
        f"for each {many}{axis}; between the last two points it grows with the power {fit['exponent']:.2f}"
    )


def verdict_lines(scenario: dict[str, Any]) -> list[str]:
    lines = [
        f"- target: {one.target.ours}, {one.measure} {one.wanted}: {'met' if one.is_met else '**missed**'}, {one.found}"
        for one in targets.verdicts(scenario)
    ]
    return ["", *lines] if lines else []


def short(number: float) -> str:
    """Three significant digits: ``1.51``, ``69.5``, ``3,820``."""
    return f"{float(f'{number:.3g}'):,.0f}" if number >= 1000 else f"{number:.3g}"


def variant_cells(
    variant: dict[str, Any], metrics: Sequence[dict[str, Any]], *, labelled: bool, costs: bool, compared: bool
) -> list[str]:
    name = variant["name"] if compared else variant["name"].partition(", ")[2]
    cells = [f"**{name}**" if compared and variant["peer"] == OURS else name]
    for metric in metrics:
        figures = variant["metrics"].get(metric["key"], {})
        time, ratio = figures.get("time"), figures.get("ratio")
        cells.append(f"{short(time['median'])} ({short(time['least'])}–{short(time['greatest'])})" if time else "–")
        cells += [f"{ratio['median']:.2f} ×" if ratio else "–"] if compared and metric["compared"] else []
    if costs:
        driver_cpu, peak = variant["driver_cpu_us_per_mini_batch"], variant["pss_peak_bytes"]
        cells += ["–" if driver_cpu is None else short(driver_cpu), number(variant["cpu_s"], ".2f")]
        cells.append(number(peak / 2**20 if peak else None, ".0f"))
    cells += [number(variant["correct"], "d")] if labelled else []
    cells.append(remark(variant))
    return cells


def remark(variant: dict[str, Any]) -> str:
    """How many runs counted, and what happened to the others."""
    if variant["missing"]:
        return f"missing: {variant['missing']}"
    words = [str(variant["counted"])]
    words += [f"{variant['dropped']} dropped"] if variant["dropped"] else []
    words += [f"{variant['wrong']} wrong: {'; '.join(variant['complaints'])}"] if variant["wrong"] else []
    return ", ".join(words)


def number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def table_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def chart(record: dict[str, Any], paths: Sequence[Path]) -> None:
    """One panel of bars for each metric of each scenario, shortest first; an axis goes by powers of ten."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "batchflow"  # the same record, the same file
    from matplotlib import pyplot

    panels = [(scenario, metric) for scenario in record["scenarios"] for metric in scenario["metrics"]]
    panels = [panel for panel in panels if panel[1]["compared"] and bars(*panel)]
    if not panels:
        return
    heights = [3.0 if panel[0]["axis"] else 1.0 + 0.28 * len(bars(*panel)) for panel in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for (scenario, metric), axis in zip(panels, axes[:, 0], strict=True):
        (draw_curve if scenario["axis"] else draw)(axis, scenario, metric)
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def curves_chart(scenarios: Sequence[dict[str, Any]], path: Path) -> None:
    """Curves alone: a row for each scenario, a column for each metric."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = max(len(scenario["metrics"]) for scenario in scenarios)
    size = (5.5 * columns, 2.6 * len(scenarios))
    figure, axes = pyplot.subplots(len(scenarios), columns, figsize=size, squeeze=False, layout="constrained")
    for scenario, row in zip(scenarios, axes, strict=True):
        for metric, axis in zip(scenario["metrics"], row, strict=False):
            if bars(scenario, metric):
                draw_curve(axis, scenario, metric)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def bars(scenario: dict[str, Any], metric: dict[str, Any]) -> list[tuple[str, dict[str, float], bool]]:
    """(name, time, whether it is ours) of each variant that was measured, slowest first, as bars are drawn upwards."""
    measured = [
        (variant["name"], variant["metrics"][metric["key"]]["time"], variant["peer"].startswith(OURS))
        for variant in scenario["variants"]
        if variant["metrics"] and variant["metrics"][metric["key"]]["time"]
    ]
    return sorted(measured, key=lambda bar: -bar[1]["median"])


def draw(axis: Any, scenario: dict[str, Any], metric: dict[str, Any]) -> None:
    """One panel."""
    drawn = bars(scenario, metric)
    names = [name for name, _, _ in drawn]
    medians = [time["median"] for _, time, _ in drawn]
    errors = [
        [time["median"] - time["least"] for _, time, _ in drawn],
        [time["greatest"] - time["median"] for _, time, _ in drawn],
    ]
    colours = [OURS_COLOUR if ours else PEER_COLOUR for _, _, ours in drawn]
    axis.barh(names, medians, xerr=errors, color=colours, ecolor="#404040", capsize=2)
    if max(medians) > 10 * min(medians):
        axis.set_xscale("log")
    for name, median, (_, time, _) in zip(names, medians, drawn, strict=True):
        axis.annotate(
            short(median),
            (max(median, time["greatest"]), name),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.margins(x=0.12)
    head(axis, scenario)
    scale = ", logarithmic" if axis.get_xscale() == "log" else ""
    axis.set_xlabel(f"{metric['title']}, {metric['unit']} (less is better{scale})", fontsize=8)
    plain(axis)


def draw_curve(axis: Any, scenario: dict[str, Any], metric: dict[str, Any]) -> None:
    """One panel of a curve, its line of least squares dashed behind it; both axes go by powers of ten."""
    points = [
        (one["place"], one["metrics"][metric["key"]]["time"]["median"])
        for one in scenario["variants"]
        if one["place"] is not None and one["metrics"] and one["metrics"][metric["key"]]["time"]
    ]
    places, values = zip(*sorted(points), strict=True)
    for fit in scenario["curves"]:
        if fit["key"] == metric["key"]:
            line = [fit["intercept"] + fit["slope"] * place for place in places]
            axis.plot(places, line, "--", color=PEER_COLOUR, label="line of least squares")
    axis.plot(places, values, "o-", color=OURS_COLOUR, label="measured")
    for place, value in zip(places, values, strict=True):
        axis.annotate(short(value), (place, value), xytext=(0, 5), textcoords="offset points", fontsize=8)
    if max(places) >= 10 * min(places):
        axis.set_xscale("log")
    axis.set_ylim(0, 1.25 * max(values))
    if max(values) > 10 * min(values) > 0:
        axis.set_yscale("log")
        axis.set_ylim(min(values) / 2, max(values) * 3)
    head(axis, scenario)
    axis.set_xlabel(scenario["axis"], fontsize=8)
    axis.set_ylabel(f"{metric['title']}, {metric['unit']}", fontsize=8)
    axis.legend(fontsize=7, frameon=False)
    plain(axis)


def head(axis: Any, scenario: dict[str, Any]) -> None:
    title = textwrap.fill(f"{scenario['case']}: {scenario['title']}", TITLE_WIDTH)
    axis.set_title(title, loc="left", fontsize=10)


def plain(axis: Any) -> None:
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
