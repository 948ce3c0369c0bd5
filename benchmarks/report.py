"""The record as a Markdown table and as a chart; both are made from the JSON alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

OURS = "batchflow"
OURS_COLOUR = "#0072b2"
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
        lines += ["", "## dispatch: cost = a · items + b · mini-batches", ""]
        lines += ["| | a, µs per item | b, µs per mini-batch |", "|---|---:|---:|"]
        lines += [f"| {fit['name']} | {fit['a_us']:.3f} | {fit['b_us']:.2f} |" for fit in record["fits"]]
    return "\n".join(lines) + "\n"


def scenario_lines(scenario: dict[str, Any]) -> list[str]:
    """The heading, what is measured, and the table of one scenario."""
    metrics = scenario["metrics"]
    head = ["", *(cell for metric in metrics for cell in (f"{metric['title']}, {metric['unit']}", "ratio"))]
    labelled = any(variant["correct"] is not None for variant in scenario["variants"])
    head += ["driver CPU, µs per mini-batch", "CPU of the tree, s", "peak memory (PSS), MiB"]
    head += ["right"] if labelled else []
    head += ["runs"]
    rows = [variant_cells(variant, metrics, labelled=labelled) for variant in scenario["variants"]]
    return [
        f"## {scenario['case']}: {scenario['title']}",
        "",
        f"{scenario['explanation']} {scenario['items']:,} items, {scenario['mini_batches']:,} mini-batches, "
        f"{scenario['workers']} workers.",
        "",
        table_row(head),
        table_row(["---"] + ["---:"] * (len(head) - 1)),
        *(table_row(row) for row in rows),
    ]


def short(number: float) -> str:
    """Three significant digits: ``1.51``, ``69.5``, ``3,820``."""
    return f"{float(f'{number:.3g}'):,.0f}" if number >= 1000 else f"{number:.3g}"


def variant_cells(variant: dict[str, Any], metrics: Sequence[dict[str, Any]], *, labelled: bool) -> list[str]:
    name = f"**{variant['name']}**" if variant["peer"] == OURS else variant["name"]
    cells = [name]
    for metric in metrics:
        figures = variant["metrics"].get(metric["key"], {})
        time, ratio = figures.get("time"), figures.get("ratio")
        cells.append(f"{short(time['median'])} ({short(time['least'])}–{short(time['greatest'])})" if time else "–")
        cells.append(f"{ratio['median']:.2f} ×" if ratio else "–")
    driver_cpu = variant["driver_cpu_us_per_mini_batch"]
    cells += ["–" if driver_cpu is None else short(driver_cpu), number(variant["cpu_s"], ".2f")]
    peak = variant["pss_peak_bytes"]
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
    from matplotlib import pyplot

    panels = [(scenario, metric) for scenario in record["scenarios"] for metric in scenario["metrics"]]
    panels = [panel for panel in panels if bars(*panel)]
    if not panels:
        return
    heights = [1.0 + 0.28 * len(bars(*panel)) for panel in panels]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(9, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for (scenario, metric), axis in zip(panels, axes[:, 0], strict=True):
        draw(axis, scenario, metric)
    for path in paths:
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def bars(scenario: dict[str, Any], metric: dict[str, Any]) -> list[tuple[str, dict[str, float], bool]]:
    """(name, time, whether it is ours) of each variant that was measured, slowest first, as bars are drawn upwards."""
    measured = [
        (variant["name"], variant["metrics"][metric["key"]]["time"], variant["peer"] == OURS)
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
    axis.set_title(f"{scenario['case']}: {scenario['title']}", loc="left", fontsize=10)
    scale = ", logarithmic" if axis.get_xscale() == "log" else ""
    axis.set_xlabel(f"{metric['title']}, {metric['unit']} (less is better{scale})", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
