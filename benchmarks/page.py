"""docs/benchmarks.md and the tables that are printed, of the JSON that was measured."""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from machine import RESULTS, ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
INGESTION = "## Ingestion\n"  # all that follows comes from ingestion.py


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown that can be read as text: the first column left, numbers right."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join([first, *others])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(lines[0]), f"| {' | '.join(rule)} |", *map(line, lines[1:])])


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def loops(found: dict[str, Any]) -> str:
    """Ours, the textbook's and the limit."""
    header = [
        *("", "batch", "ours ms", "from - to", "textbook ms", "from - to", "speed-up"),
        *("limit ms", "ours / limit", "ours images/s", "textbook images/s"),
    ]
    rows = []
    for dataset, each in found["loops"].items():
        our, their = each["ours"], each["textbook"]
        rows.append(
            [
                *(dataset, str(each["batch_size"]), _ms(our["ms"]), _spread(our)),
                *(_ms(their["ms"]), _spread(their), f"{each['speedup']:.2f}"),
                *(_ms(each["limit_ms"]), f"{each['ratio_to_limit']:.2f}"),
                *(f"{loop['images_per_second']:,.0f}" for loop in (our, their)),
            ]
        )
    return table(header, rows)


def _spread(loop: dict[str, Any]) -> str:
    return f"{_ms(min(loop['ms_of_blocks']))} - {_ms(max(loop['ms_of_blocks']))}"


def costs(found: dict[str, Any]) -> str:
    """What stands behind the times: arithmetic, data, memory."""
    header = [
        *("", "GFLOP an iteration", "GFLOP/s before", "drift", "products alone ms"),
        *("ours data ms", "share", "textbook data ms", "share"),
        *("ours peak MB", "textbook peak MB"),
    ]
    rows = []
    for dataset, each in found["loops"].items():
        pair = (each["ours"], each["textbook"])
        data = [
            cell
            for loop in pair
            for cell in (f"{loop['data_ms']:.2f}", f"{100 * loop['data_share']:.1f} %")
        ]
        rows.append(
            [
                *(dataset, f"{each['gflop_per_iteration']:.1f}"),
                *(f"{each['gflops_of_products'][0]:.0f}", f"{each['drift']:.2f}"),
                _ms(each["products_ms"]),
                *(*data, *(f"{loop['peak_mb']:,.0f}" for loop in pair)),
            ]
        )
    return table(header, rows)


def choices(found: dict[str, Any]) -> str:
    """What each decision brings."""
    rows = [(name, f"{ratio:.2f}") for name, ratio in found["choices"]["without"].items()]
    return table(["without", "times as long"], rows)


def arithmetic(found: dict[str, Any]) -> str:
    """Precisions and the compiler, beside float32 as it is."""
    times = found["arithmetic"]["ms"]
    usual = next(iter(times.values()))
    rows = [(name, _ms(each), f"{each / usual:.2f}") for name, each in times.items()]
    return table(["", "ms an iteration", "times as long"], rows)


def batch_sizes(found: dict[str, Any]) -> str:
    """Growth with the batch."""
    rows = [
        (size, _ms(each["ms"]), f"{each['images_per_second']:,.0f}", f"{each['peak_mb']:,.0f}")
        for size, each in found["growth"]["batch_size"].items()
    ]
    return table(["batch", "ms an iteration", "images/s", "peak MB"], rows)


def lengths(found: dict[str, Any]) -> str:
    """Growth with the data set."""
    itself = found["nothing"]["peak_mb"]
    rows = [
        (
            f"{int(length):,}",
            f"{int(length) * 3 * 32 * 32 / 1e6:,.0f}",
            _ms(each["first_ms"]),
            _ms(each["ms"]),
            f"{each['peak_mb']:,.0f}",
            f"{each['peak_mb'] - itself:,.0f}",
        )
        for length, each in found["growth"]["images"].items()
    ]
    header = ["images", "MB of images", "first ms", "ms an iteration", "peak MB", "beyond torch"]
    return table(header, rows)


def seeds(found: dict[str, Any]) -> str:
    """Growth with the number of seeds."""
    rows = [
        (
            count,
            f"{each['seconds']:.1f}",
            f"{each['seconds_per_seed']:.1f}",
            f"{each['peak_mb']:,.0f}",
        )
        for count, each in found["growth"]["seeds"].items()
    ]
    return table(["seeds", "s", "s a seed", "peak MB"], rows)


def around(found: dict[str, Any]) -> str:
    """The pipeline around the loop, and start-up times."""
    each = found["pipeline"]
    rows = [
        (f"{each['dataset']}, the bare loop", f"{_ms(each['bare_ms'])} ms an iteration"),
        (f"{each['dataset']}, in the pipeline", f"{_ms(each['pipeline_ms'])} ms an iteration"),
        ("in the pipeline / bare", f"{each['pipeline_to_bare']:.3f}"),
        ("bare after / before", f"{each['bare_drift']:.3f}"),
        *(
            (f"`{command}`", f"{seconds:.2f} s")
            for command, seconds in found["start_up_seconds"].items()
        ),
    ]
    return table(["what", "measured"], rows)


def ingestion(found: dict[str, Any]) -> str:
    """What ingestion.py found."""
    rows = [
        (
            name,
            f"{each['images']:,}",
            f"{each['seconds']:.1f}",
            f"{each['rate']:,.0f}",
            f"{each['peak_mb']:,.0f}",
        )
        for name, each in found["datasets"].items()
    ]
    return table(["", "images", "s", "images/s", "peak MB"], rows)


def gpu_loops(found: dict[str, Any]) -> str:
    """On a GPU: ours in each precision, not recorded, and the textbook's."""
    rows = []
    for dataset, each in found["loops"].items():
        times = {name: one["ms"] for name, one in each["loops"].items()}
        ours, textbook = times["float32"], times["textbook"]
        plain = times["float32, not recorded"]
        rows.append(
            [
                *(dataset, str(each["batch_size"])),
                *(f"{times[name]:.2f}" for name in ("float32", "tf32", "bfloat16")),
                *(f"{plain:.2f}", f"{plain / ours:.1f}"),
                *(f"{textbook:.2f}", f"{textbook / ours:.1f}"),
                *(f"{1e3 * each['batch_size'] / ours:,.0f}", f"{each['memory_mb']:,.0f}"),
            ]
        )
    header = [
        *("", "batch", "float32 ms", "tf32 ms", "bfloat16 ms", "not recorded ms", "speed-up"),
        *("textbook ms", "speed-up", "images/s", "MB"),
    ]
    return table(header, rows)


def gpu_extended(found: dict[str, Any]) -> str:
    """On a GPU: extensions of the paper."""
    rows = [(name, f"{each['ms']:.2f}") for name, each in found["extended"].items()]
    return table(["MNIST with", "ms an iteration"], rows)


def gpu_kernels(found: dict[str, Any]) -> str:
    """On a GPU: what an iteration is made of."""
    rows = [
        (name, f"{each['kernels']:.0f}", f"{each['busy_ms']:.2f}")
        for name, each in found["kernels"].items()
    ]
    return table(["MNIST in", "kernels an iteration", "ms that they take"], rows)


def gpu_seeds(found: dict[str, Any]) -> str:
    """On a GPU: seeds side by side."""
    rows = [
        (
            precision,
            count,
            f"{ms:.2f}",
            f"{ms / int(count):.2f}",
            f"{int(count) * each['1'] / ms:.2f}",
        )
        for precision, each in found["seeds"].items()
        for count, ms in each.items()
    ]
    header = ["MNIST in", "seeds", "ms an iteration of all", "ms a seed", "times as fast"]
    return table(header, rows)


def gpu_whole(found: dict[str, Any]) -> str:
    """On a GPU: the training node."""
    rows = [
        (name, f"{each['iterations']:,}", f"{each['seconds']:.1f}")
        for name, each in found["whole"].items()
    ]
    return table(["MNIST in", "iterations", "s"], rows)


def gpu_compiled(found: dict[str, Any]) -> str:
    """On a GPU: torch.compile, beside the same without."""
    each = found["compiled"]
    rows = [
        (
            precision,
            f"{each['loops'][precision]['ms']:.2f}",
            f"{each['loops'][f'{precision}, compiled']['ms']:.2f}",
            f"{counted['kernels']:.0f}",
            f"{each['seconds'][precision]:.0f}",
        )
        for precision, counted in each["kernels"].items()
    ]
    header = ["MNIST in", "ms an iteration", "compiled, ms", "its kernels", "s to compile"]
    return table(header, rows)


GPU_TABLES = (gpu_loops, gpu_extended, gpu_kernels, gpu_seeds, gpu_whole, gpu_compiled)


def gpu_tables(found: dict[str, Any]) -> str:
    """All tables of a run of gpu.py."""
    return "\n\n".join(each(found) for each in GPU_TABLES)


TABLES = (loops, costs, choices, arithmetic, batch_sizes, lengths, seeds, around)


def tables(found: dict[str, Any]) -> str:
    """All tables of a run of training.py."""
    return "\n\n".join(each(found) for each in TABLES)


def write(training: dict[str, Any], ingested: dict[str, Any] | None, page: Path) -> None:
    """The page; without new numbers of ingestion, what it says of ingestion stays."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    one_of_them = next(iter(training["loops"].values()))
    text = environment.get_template("training.md.j2").render(
        training,
        found=training,
        tables={each.__name__: each(training) for each in TABLES},
        blocks=len(one_of_them["ours"]["ms_of_blocks"]),
    )
    if ingested is not None:
        text += "\n" + environment.get_template("ingestion.md.j2").render(
            ingested, table=ingestion(ingested)
        )
    elif page.exists():
        _, heading, rest = page.read_text().partition(INGESTION)
        text += f"\n{heading}{rest}" if heading else ""
    page.write_text(text)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", type=Path, default=RESULTS / "training.json")
    parser.add_argument("--ingestion", type=Path, default=RESULTS / "ingestion.json")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    if not arguments.training.exists():
        parser.error(f"{arguments.training} is missing: run `make bench` first")
    ingested = arguments.ingestion
    write(
        json.loads(arguments.training.read_text()),
        json.loads(ingested.read_text()) if ingested.exists() else None,
        arguments.page,
    )
    print(f"written: {arguments.page}")


if __name__ == "__main__":
    main()
