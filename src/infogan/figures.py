"""Arrays to matplotlib figures, in the manner of the paper's.

Every figure is 6.5 inches wide or less, the text width of a page, and set in 8-point type.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torchvision.utils import make_grid

from infogan.datasets.values import Rows
from infogan.options import CategoricalPrior, Model, UniformPrior

_WIDTH = 6.5  # inches
_INFOGAN, _GAN = "#1f5fa8", "#d9822b"  # distinguishable without colour by their lightness, too
_CODES = (
    "#1f5fa8",
    "#2a9d72",
    "#8e4fa8",
    "#b8860b",
    "#c0485a",
    "#4c8fbd",
    "#6b8e23",
    "#d2691e",
    "#708090",
    "#b565a7",
)
_GREY = "0.35"
_LINE, _NAME = 100, 16  # characters of headings in a row, and of a name in a table
_LEGIBLE = 25  # rows and columns of a table whose cells have room for numbers


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "font.family": "sans-serif",
            "mathtext.fontset": "dejavusans",
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "legend.frameon": False,
        }
    )


# --- Studies ---------------------------------------------------------------------------------


def study(runs: Sequence[Mapping[str, Any]], dpi: int) -> Figure:
    """Error of every run over iterations and seconds, L_I beside it, and how errors spread.

    Thin: a seed; bold: the median of a recipe. ``runs`` as the study keeps them.
    """
    recipes = list(dict.fromkeys(run["recipe"] for run in runs))
    colours = {name: _CODES[place % len(_CODES)] for place, name in enumerate(recipes)}
    dashes = {
        name: ("-", "--", ":")[place // len(_CODES) % 3] for place, name in enumerate(recipes)
    }
    more = max(len(recipes) - 6, 0)
    with _style():
        figure = Figure(figsize=(_WIDTH, 4.6 + 0.3 * more), dpi=dpi, layout="constrained")
        (by_iteration, by_second), (spread, bound) = figure.subplots(2, 2)
        for axes, key in ((by_iteration, "iteration"), (by_second, "seconds")):
            for name in recipes:
                own = [run["observations"] for run in runs if run["recipe"] == name]
                lines = [[100 * each["error_one_to_one"] for each in line] for line in own]
                times = [[each[key] for each in line] for line in own]
                look = {"color": colours[name], "linestyle": dashes[name]}
                for x, y in zip(times, lines, strict=True):
                    axes.plot(x, y, linewidth=0.5, alpha=0.5, **look)
                if len({len(line) for line in lines}) == 1:
                    x, y = np.median(times, axis=0), np.median(lines, axis=0)
                    axes.plot(x, y, linewidth=1.5, label=name, **look)
            axes.set(xlabel=key, ylabel="one-to-one error, %", ylim=(0, None))
        if more:
            handles, names = by_iteration.get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower center", ncols=3)
        else:
            by_iteration.legend()
        for place, name in enumerate(recipes):
            own_runs = [run for run in runs if run["recipe"] == name]
            errors = [100 * r["observations"][-1]["error_one_to_one"] for r in own_runs]
            height = np.full(len(errors), -place)
            spread.plot(errors, height, "o", color=colours[name], markersize=3, alpha=0.7)
            spread.plot(np.median(errors), -place, "|", color="black", markersize=9)
            bounds = [run["lower_bound"] for run in own_runs]
            bound.plot(bounds, errors, "o", color=colours[name], markersize=3, alpha=0.7)
        spread.set_yticks([-place for place in range(len(recipes))], recipes)
        spread.set(xlabel="error at the end, % (bar: median)", xlim=(0, None))
        spread.margins(y=0.3)
        bound.set(xlabel="$L_I$ at the end, nats", ylabel="error at the end, %", ylim=(0, None))
    return figure


# --- Figure 1 ------------------------------------------------------------------------------------


def mutual_information(history: Rows, baseline: Rows | None, model: Model, dpi: int) -> Figure:
    """L_I over iterations: against the regular GAN as in Figure 1, and of every code to the end.

    Faint: the minibatch. Bold: fresh codes. Dashed: H(c), for continuous codes a reference only.
    A spread fixed at 1 makes L_I of a continuous code a squared error, which is not drawn beside
    categorical codes; alone it is, with what a perfect reading gives as the dashed line.
    """
    categorical = [code for code in model.codes if isinstance(code, CategoricalPrior)]
    errors = model.spread == "fixed" and not categorical
    shown = [
        code for code in model.codes if code in categorical or errors or model.spread == "learned"
    ]
    ceilings = {code.name: _ceiling(code, model.spread) for code in model.codes}
    with _style():
        figure = Figure(figsize=(_WIDTH, 2.5), dpi=dpi, layout="constrained")
        left, right = figure.subplots(1, 2)
        compared = categorical or shown
        names = [code.name for code in compared]
        entropy = sum(ceilings[code.name] for code in compared)
        last = _last_iteration(baseline) if baseline else _last_iteration(history)
        if baseline:
            _draw_sum(left, baseline, names, "GAN", _GAN, last)
        _draw_sum(left, history, names, "InfoGAN", _INFOGAN, last)
        what = f"H({', '.join(names)})" if len(names) <= 3 else r"\sum_i H(c_i)"
        label = r"perfect reading, $\sigma = 1$" if errors else f"${what}$"
        _draw_entropy(left, entropy, f"{label} = {entropy:.3f}")
        left.set_title("Categorical codes" if categorical else "All codes", loc="left")
        left.set_ylabel("$L_I$ (nats)")
        left.set_xlim(0, last)
        left.legend(loc="best", borderaxespad=0.2)

        for code, colour in zip(shown, _CODES * len(shown), strict=False):
            _draw_sum(right, history, [code.name], f"${_math(code.name)}$", colour, None)
            _draw_entropy(right, ceilings[code.name], None, colour)
        right.set_title("InfoGAN, each code", loc="left")
        right.set_xlim(0, _last_iteration(history))
        right.legend(
            loc="lower right", ncols=min(5, len(shown)), columnspacing=0.9, handlelength=1.2
        )
        highest = max(ceilings[code.name] for code in shown)
        for axes, top in ((left, entropy), (right, highest)):
            axes.set_xlabel("Iteration")
            low, high = axes.get_ylim()
            margin = 0.13 * abs(top)
            axes.set_ylim(min(-1.5 * margin, low), max(top + margin, high))
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=True))
    return figure


def _ceiling(code: CategoricalPrior | UniformPrior, spread: str) -> float:
    """H(c); of a continuous code with sigma 1, what L_I is if Q reads it perfectly."""
    if isinstance(code, UniformPrior) and spread == "fixed":
        return code.entropy - code.dim * float(np.log(2 * np.pi)) / 2
    return code.entropy


def _math(name: str) -> str:
    name, _, dimension = name.partition("_")
    head, digits = name.rstrip("0123456789"), name[len(name.rstrip("0123456789")) :]
    digits = ",".join(filter(None, (digits, dimension)))
    return f"{head}_{{{digits}}}" if digits else rf"\mathrm{{{head}}}"


def _last_iteration(rows: Rows) -> float:
    return float(rows.column("iteration")[-1])


def _draw_sum(
    axes: Axes, rows: Rows, codes: Sequence[str], label: str, colour: str, last: float | None
) -> None:
    iterations = rows.column("iteration")
    window = iterations <= (last if last is not None else iterations[-1])
    batch = np.sum([rows.column(f"lower_bound.{code}") for code in codes], axis=0)
    fresh = np.sum([rows.column(f"held_out.{code}") for code in codes], axis=0)
    axes.plot(iterations[window], batch[window], color=colour, alpha=0.45, linewidth=0.6)
    measured = window & np.isfinite(fresh)
    # A line between few points would claim what nobody measured: the baseline's hump lies there.
    few = measured.sum() <= 25
    axes.plot(
        iterations[measured],
        fresh[measured],
        color=colour,
        linewidth=1.6,
        linestyle="none" if few else "-",
        marker="o" if few else None,
        markersize=4,
        clip_on=False,
        zorder=3,
        label=label,
    )


def _draw_entropy(axes: Axes, entropy: float, label: str | None, colour: str = _GREY) -> None:
    axes.axhline(entropy, color=colour, linewidth=0.8, linestyle=(0, (4, 3)), label=label)


# --- Figure 2 and its kind -----------------------------------------------------------------------


def tile(images: np.ndarray, columns: int, padding: int) -> np.ndarray:
    """uint8 images (N, C, H, W) as one picture (height, width, 3), white between them."""
    batch = torch.from_numpy(np.array(images))
    grid = make_grid(batch, nrow=columns, padding=padding, pad_value=255)
    return np.asarray(grid.permute(1, 2, 0).numpy())


def traversal(
    panel: np.ndarray,
    values: Sequence[float],
    code: CategoricalPrior | UniformPrior,
    class_of_category: Sequence[int] | None,
    dpi: int,
    order_by_hand: Sequence[int] | None = None,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Rows of samples (rows, values, C, H, W), one code varying from left to right.

    Named by the code, or by ``name``, say of one dimension of it.
    Categories stand in the order of the classes they were matched to, since their own order is
    arbitrary; a category without a class comes last. Ordered by hand, they are headed by their
    own numbers. Under a continuous code the range it was trained on is marked.
    """
    order = list(range(len(values)))
    if order_by_hand is not None:
        order, class_of_category = list(order_by_hand), None
    if class_of_category is not None and isinstance(code, CategoricalPrior):
        order = sorted(order, key=lambda k: (class_of_category[k] < 0, class_of_category[k]))
    _, columns, _, height, width = panel.shape
    padding = max(1, round(height / 14))
    picture = tile(panel[:, order].reshape(-1, *panel.shape[2:]), columns, padding)

    with _style():
        above, below = 0.25, 0.27 if isinstance(code, UniformPrior) else 0.05  # inches for words
        side = _WIDTH * 0.94 * picture.shape[0] / picture.shape[1]
        whole = side + above + below
        figure = Figure(figsize=(_WIDTH, whole), dpi=dpi)
        axes = figure.add_axes((0.05, below / whole, 0.94, side / whole))
        _show(axes, picture)
        centres = (np.arange(columns) + 0.5) * (width + padding) + padding / 2
        names = class_names and [_cut(each, _LINE // columns) for each in class_names]
        headings = _headings(values, order, code, class_of_category, names)
        for centre, heading in zip(centres, headings, strict=True):
            axes.text(
                centre, -padding, heading, ha="center", va="bottom", fontsize=7.5, parse_math=False
            )
        matched = isinstance(code, CategoricalPrior) and class_of_category is not None
        by_hand = order_by_hand is not None
        order_told = "by matched class" if matched else "ordered by hand" if by_hand else ""
        _name_code(axes, picture, name or code.name, order_told)
        if isinstance(code, UniformPrior):
            _mark_trained_range(axes, picture, centres, values, code)
    return figure


def _headings(
    values: Sequence[float],
    order: Sequence[int],
    code: CategoricalPrior | UniformPrior,
    class_of_category: Sequence[int] | None,
    class_names: Sequence[str] | None,
) -> list[str]:
    if isinstance(code, UniformPrior):
        return [f"{value:+.2f}".replace("-", "\N{MINUS SIGN}") for value in values]
    if class_of_category is None:
        return [str(k) for k in order]
    return [_class(class_of_category[k], class_names) for k in order]


def _class(number: int, names: Sequence[str] | None) -> str:
    """A class as it is called, by its number if it has no name; – where there is none."""
    if number < 0:
        return "–"
    return names[number] if names else str(number)


def _cut(text: str, room: int) -> str:
    """As many characters as there is room for."""
    return text if len(text) <= max(room, 2) else f"{text[: max(room, 2) - 1]}…"


def _name_code(axes: Axes, picture: np.ndarray, name: str, order: str) -> None:
    text = f"${_math(name)}$" + (f" ({order})" if order else "")
    axes.text(
        -0.008 * picture.shape[1],
        picture.shape[0] / 2,
        text,
        ha="right",
        va="center",
        rotation=90,
        fontsize=8,
    )


def _mark_trained_range(
    axes: Axes,
    picture: np.ndarray,
    centres: np.ndarray,
    values: Sequence[float],
    code: UniformPrior,
) -> None:
    if code.high < values[0] or values[-1] < code.low:
        return
    left, right = np.interp([code.low, code.high], values, centres)
    ends = [0.25 if values[0] <= end <= values[-1] else 0.0 for end in (code.low, code.high)]
    y = picture.shape[0] * 1.012
    axes.annotate(
        "",
        (left, y),
        (right, y),
        annotation_clip=False,
        arrowprops={
            "arrowstyle": f"|-|, widthA={ends[0]}, widthB={ends[1]}",
            "lw": 0.9,
            "color": _GREY,
        },
    )
    axes.text(
        (left + right) / 2,
        y + 0.02 * picture.shape[0],
        f"trained on [{code.low:g}, {code.high:g}]".replace("-", "\N{MINUS SIGN}"),
        ha="center",
        va="top",
        fontsize=7,
        color=_GREY,
    )


def samples(images: np.ndarray, columns: int, dpi: int) -> Figure:
    """Random images (N, C, H, W) in a grid."""
    padding = max(1, round(images.shape[2] / 14))
    picture = tile(images, columns, padding)
    with _style():
        side = 3.25
        figure = Figure(figsize=(side, side * picture.shape[0] / picture.shape[1]), dpi=dpi)
        _show(figure.add_axes((0, 0, 1, 1)), picture)
    return figure


def _show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set_axis_off()


# --- Categories against classes ------------------------------------------------------------------


def confusion(categories: Mapping[str, Any], dpi: int) -> Figure:
    """Test images by class and category, categories in the order of their matched classes.

    Colour and number are the percentage of the class's images; of more than 25 classes or
    categories, colour alone.
    """
    table = np.array(categories["test_table"])
    matched = np.array(categories["class_of_category"])
    order = sorted(range(len(matched)), key=lambda k: (matched[k] < 0, matched[k]))
    by_class = table[order].T  # (classes, K)
    share = 100 * by_class / np.maximum(by_class.sum(axis=1, keepdims=True), 1)
    classes, count = share.shape
    with _style():
        width, height = (max(1.0, min(each / 12, 2.5)) for each in (count, classes))
        size = min(4.2 * width, _WIDTH), 3.6 * height
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        legible = max(classes, count) <= _LEGIBLE
        for (row, column), value in np.ndenumerate(share):
            if legible and value >= 0.5:
                colour = "white" if value > 55 else "black"
                axes.text(
                    column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour
                )
        names = categories.get("class_names")
        across = [_cut(_class(matched[k], names), _NAME) for k in order]
        down = [_cut(_class(k, names), _NAME) for k in range(classes)]
        turn = 90 if names else 0
        every = range(0, count, -(-count // _LEGIBLE))  # as many names as there is room for
        axes.set_xticks(every, [across[k] for k in every], rotation=turn, parse_math=False)
        every = range(0, classes, -(-classes // _LEGIBLE))
        axes.set_yticks(every, [down[k] for k in every], parse_math=False)
        axes.set_xlabel(f"category of ${_math(categories['code'])}$, named by its matched class")
        axes.set_ylabel("true class")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
        bar.set_label("% of the class's test images")
        bar.outline.set_visible(False)
    return figure


# --- Codes against known factors -----------------------------------------------------------------


def associations(table: Mapping[str, Any], dpi: int) -> Figure:
    """How far each code goes with each known factor, a row a factor.

    Continuous codes: absolute rank correlation. Categorical codes: share of the factor's entropy
    that the category tells. Numbers stand where they exceed the 95th percentile of chance.
    """
    factors = table["factors"]
    entropy = np.maximum(np.array(table["entropy"]), 1e-12)
    parts = []
    for kind, title, unit in (
        ("continuous", "Continuous: |rank correlation|", 1.0),
        ("categorical", "Categorical: share of entropy told", entropy),
    ):
        if table[kind]["codes"]:
            values, chance = (np.array(table[kind][key]) / unit for key in ("values", "chance"))
            parts.append((title, table[kind]["codes"], values, chance))
    long = len(factors) > 12
    label_width, row = 1.35, 0.15 if long else 0.26  # inches
    widths = [max(1.9, 0.42 * len(codes)) for _, codes, _, _ in parts]
    with _style():
        size = (min(_WIDTH, sum(widths) + label_width), row * len(factors) + 0.9)
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        grid = figure.subplots(1, len(parts), squeeze=False, width_ratios=widths)[0]
        for axes, (title, codes, values, chance) in zip(grid, parts, strict=True):
            shown = values.T  # (factors, codes)
            top = max(0.2, float(shown.max()))  # pale where all is little
            axes.imshow(shown, cmap="Blues", vmin=0, vmax=top, aspect="auto")
            for (place, code), value in np.ndenumerate(shown):
                if value > chance.T[place, code]:
                    axes.text(
                        code,
                        place,
                        f"{value:.2f}",
                        ha="center",
                        va="center",
                        fontsize=5.5 if long else 7,
                        color="white" if value > 0.6 * top else "black",
                    )
            axes.set_title(title, loc="left", fontsize=7.5)
            axes.set_xticks(range(len(codes)), [f"${_math(code)}$" for code in codes])
            names = [factor.replace("_", " ") for factor in factors]
            axes.set_yticks(range(len(factors)), names if axes is grid[0] else [])
            axes.tick_params(length=0, labelsize=6 if long else 7)
            axes.spines[:].set_visible(False)
    return figure
