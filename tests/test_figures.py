"""Figures can be saved, are the same for the same numbers, and stand in the right order."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from infogan import figures
from infogan.datasets.values import Rows
from infogan.options import CategoricalPrior, Model, UniformPrior

CATEGORICAL = CategoricalPrior("c1", 3)
UNIFORM = UniformPrior("c2", -1.0, 1.0, 1)
TABLE = {"code": "c1", "test_table": [[0, 9, 1], [8, 1, 0], [1, 2, 5]]}
MATCHED = [1, 0, 2]


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def texts(figure: Figure) -> list[str]:
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts]


def plain(panel: np.ndarray) -> np.ndarray:
    """A panel (rows, values, 1, 8, 8) whose images are each of one grey."""
    return np.broadcast_to(panel[:, :, None, None, None], (*panel.shape, 1, 8, 8)).copy()


@pytest.fixture
def history(model: Model) -> Rows:
    names = [code.name for code in model.codes]
    columns = (
        "iteration",
        *(f"{kind}.{c}" for kind in ("lower_bound", "held_out") for c in names),
    )
    random = np.random.default_rng(0)
    rows: list[tuple[float | None, ...]] = []
    for i in range(1, 31):
        batch = random.random(3).tolist()
        fresh = random.random(3).tolist() if i % 10 == 0 else [None] * 3
        rows.append((float(i), *batch, *fresh))
    return Rows(columns, rows)


@pytest.fixture
def panel() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 3, 1, 8, 8), dtype=np.uint8)


@pytest.fixture
def makers(
    history: Rows, model: Model, panel: np.ndarray, images: np.ndarray
) -> dict[str, Callable[[], Figure]]:
    values = [-2.0, 0.0, 2.0]
    return {
        "information": lambda: figures.mutual_information(history, history, model, 60),
        "alone": lambda: figures.mutual_information(history, None, model, 60),
        "categories": lambda: figures.traversal(panel, [0, 1, 2], CATEGORICAL, MATCHED, 60),
        "unmatched": lambda: figures.traversal(panel, [0, 1, 2], CATEGORICAL, None, 60),
        "continuous": lambda: figures.traversal(panel, values, UNIFORM, None, 60),
        "samples": lambda: figures.samples(images, 7, 60),
        "confusion": lambda: figures.confusion({**TABLE, "class_of_category": MATCHED}, 60),
    }


NAMES = [
    "information",
    "alone",
    "categories",
    "unmatched",
    "continuous",
    "samples",
    "confusion",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_numbers_make_the_same_bytes(
    makers: dict[str, Callable[[], Figure]], name: str
) -> None:
    figure = makers[name]()
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() <= 6.5
    content = png(figure)
    assert content.startswith(b"\x89PNG")
    assert png(makers[name]()) == content


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_and_grey_images_are_both_shown(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, channels, 4, 5), dtype=np.uint8)
    picture = figures.tile(images, 3, padding=1)
    assert picture.shape == (2 * 5 + 1, 3 * 6 + 1, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("columns", [1, 3, 7])
def test_a_tile_stands_in_its_row_and_column(columns: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)
    picture = figures.tile(images, columns, padding=2)
    white = np.ones(picture.shape[:2], bool)
    for i, image in enumerate(images):
        top, left = 2 + (i // columns) * 6, 2 + (i % columns) * 7
        place = np.s_[top : top + 4, left : left + 5]
        np.testing.assert_array_equal(picture[place], image.transpose(1, 2, 0))
        white[place] = False
    if 7 % columns == 0:
        assert (picture[white] == 255).all()


def test_tiling_leaves_its_input_alone() -> None:
    images = np.zeros((3, 1, 2, 2), np.uint8)
    images.setflags(write=False)
    figures.tile(images, 2, padding=1)


def greys(figure: Figure, columns: int) -> list[int]:
    """The grey of the first row's images, from left to right, of a panel of plain images."""
    (axes,) = figure.axes
    (picture,) = (image.get_array() for image in axes.images)
    assert picture is not None
    padding = (picture.shape[1] - 8 * columns) // (columns + 1)
    return [int(picture[padding, padding + i * (8 + padding), 0]) for i in range(columns)]


@pytest.mark.parametrize(
    ("matched", "headings", "order"),
    [
        ([2, 0, 1], ["0", "1", "2"], [20, 30, 10]),
        ([-1, 1, 0], ["0", "1", "–"], [30, 20, 10]),
        ([7, -1, 3], ["3", "7", "–"], [30, 10, 20]),
    ],
)
def test_categories_stand_in_the_order_of_their_classes(
    matched: list[int], headings: list[str], order: list[int]
) -> None:
    panel = plain(np.array([[10, 20, 30]], np.uint8))
    figure = figures.traversal(panel, [0, 1, 2], CATEGORICAL, matched, 60)
    assert texts(figure) == [*headings, "$c_{1}$ (by matched class)"]
    assert greys(figure, 3) == order


def test_categories_without_classes_stand_in_their_own_order() -> None:
    panel = plain(np.array([[10, 20, 30]], np.uint8))
    figure = figures.traversal(panel, [0, 1, 2], CATEGORICAL, None, 60)
    assert texts(figure) == ["0", "1", "2", "$c_{1}$"]
    assert greys(figure, 3) == [10, 20, 30]


@pytest.mark.parametrize("matched", [None, [2, 0, 1]])
def test_categories_ordered_by_hand_are_headed_by_their_numbers(matched: list[int] | None) -> None:
    panel = plain(np.array([[10, 20, 30]], np.uint8))
    figure = figures.traversal(panel, [0, 1, 2], CATEGORICAL, matched, 60, [2, 0, 1])
    assert texts(figure) == ["2", "0", "1", "$c_{1}$ (ordered by hand)"]
    assert greys(figure, 3) == [30, 10, 20]


def test_a_continuous_code_is_headed_by_its_values_and_its_trained_range() -> None:
    panel = plain(np.array([[10, 20, 30]], np.uint8))
    figure = figures.traversal(panel, [-2.0, 0.0, 2.0], UNIFORM, [2, 0, 1], 60)
    minus = "\N{MINUS SIGN}"
    assert texts(figure)[:4] == [f"{minus}2.00", "+0.00", "+2.00", "$c_{2}$"]
    assert texts(figure)[-1] == f"trained on [{minus}1, 1]"
    assert greys(figure, 3) == [10, 20, 30]


def test_the_trained_range_is_marked_under_its_values(panel: np.ndarray) -> None:
    figure = figures.traversal(panel, [-2.0, 0.0, 2.0], UNIFORM, None, 60)
    (axes,) = figure.axes
    centres = {text.get_text(): text.get_position()[0] for text in axes.texts}
    middle, right = centres["+0.00"], centres["+2.00"]
    mark = next(text for text in axes.texts if hasattr(text, "xyann"))
    ends = (mark.xy[0], mark.xyann[0])
    # -1 and 1 lie half-way between the columns of -2, 0 and 2.
    assert sorted(ends) == pytest.approx([1.5 * middle - right / 2, (middle + right) / 2])


@pytest.mark.parametrize(
    ("values", "bars"),
    [([-2.0, 0.0, 2.0], (0.25, 0.25)), ([-0.5, 0.0, 0.5], (0, 0)), ([0.0, 1.0, 2.0], (0, 0.25))],
)
def test_an_end_of_the_trained_range_is_marked_where_it_is_shown(
    panel: np.ndarray, values: list[float], bars: tuple[float, float]
) -> None:
    (axes,) = figures.traversal(panel, values, UNIFORM, None, 60).axes
    mark = next(text for text in axes.texts if hasattr(text, "xyann"))
    style = mark.arrow_patch.get_arrowstyle()
    assert (style.widthA, style.widthB) == bars


def test_a_trained_range_that_is_not_shown_is_not_marked(panel: np.ndarray) -> None:
    (axes,) = figures.traversal(panel, [2.0, 3.0, 4.0], UNIFORM, None, 60).axes
    assert not any(hasattr(text, "xyann") for text in axes.texts)


def test_the_confusion_table_is_in_percent_of_the_class_and_in_matched_order() -> None:
    figure = figures.confusion({**TABLE, "class_of_category": MATCHED}, 60)
    axes = figure.axes[0]
    share = axes.images[0].get_array()
    table = np.array(TABLE["test_table"], float)
    expected = 100 * table[[1, 0, 2]].T / table.sum(axis=0)[:, None]
    np.testing.assert_allclose(np.asarray(share), expected)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2"]


def test_classes_that_have_names_are_told_by_them(panel: np.ndarray) -> None:
    names = ["ant", "a$ bee", "an animal whose name takes a whole line, and then another line"]
    figure = figures.confusion({**TABLE, "class_of_category": MATCHED, "class_names": names}, 60)
    axes = figure.axes[0]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["ant", "a$ bee", "an animal whose…"]
    png(figure)
    figure = figures.traversal(
        panel, [0, 1, 2], CATEGORICAL, MATCHED, 60, None, None, class_names=names
    )
    assert texts(figure)[:2] == ["ant", "a$ bee"]
    assert texts(figure)[2].startswith("an animal whose name")
    assert len(texts(figure)[2]) == 33
    png(figure)


def test_values_of_a_continuous_code_are_never_cut() -> None:
    panel = np.zeros((1, 41, 1, 8, 8), np.uint8)
    values = np.linspace(-10, 10, 41).tolist()
    figure = figures.traversal(panel, values, UNIFORM, None, 60, class_names=["a"] * 10)
    assert texts(figure)[:2] == ["\N{MINUS SIGN}10.00", "\N{MINUS SIGN}9.50"]


@pytest.mark.parametrize(("categories", "classes"), [(60, 60), (10, 300), (1000, 3)])
def test_a_large_confusion_table_has_no_more_words_than_room(
    categories: int, classes: int
) -> None:
    table = np.random.default_rng(0).integers(0, 9, (categories, classes)).tolist()
    matched = [k if k < classes else -1 for k in range(categories)]
    figure = figures.confusion(
        {"code": "c1", "test_table": table, "class_of_category": matched}, 60
    )
    assert figure.get_figwidth() <= 6.5
    axes = figure.axes[0]
    assert not axes.texts
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert len(ticks) <= 25
    png(figure)


def test_a_panel_of_one_dimension_is_named_by_it(panel: np.ndarray) -> None:
    code = UniformPrior(name="pose", low=-1, high=1, dim=2)
    values = [-1.0, 0.0, 1.0]
    names = [
        [
            text.get_text()
            for text in figures.traversal(panel, values, code, None, 60, None, name).axes[0].texts
        ]
        for name in ("pose_0", "pose_1")
    ]
    assert names[0] != names[1]


def test_a_class_that_is_not_there_has_no_percentages() -> None:
    table = {"code": "c1", "test_table": [[3, 0], [1, 0]], "class_of_category": [0, -1]}
    figure = figures.confusion(table, 60)
    share = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(share, [[75, 25], [0, 0]])
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0", "–"]
    png(figure)


def lines(figure: Figure, axes: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The labelled lines of one plot."""
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))
        for line in figure.axes[axes].lines
        if not str(line.get_label()).startswith("_")
    }


def test_figure_1_compares_fresh_codes_as_far_as_the_baseline_went(
    history: Rows, model: Model
) -> None:
    baseline = Rows(history.columns, history.rows[:20])
    left = lines(figures.mutual_information(history, baseline, model, 60), 0)
    fresh = history.column("held_out.c1")
    for name in ("InfoGAN", "GAN"):
        np.testing.assert_array_equal(left[name][0], [10, 20])
        np.testing.assert_array_equal(left[name][1], fresh[[9, 19]])
    (entropy,) = (name for name in left if name.startswith("$H"))
    assert entropy == f"$H(c1)$ = {np.log(3):.3f}"
    assert set(left[entropy][1]) == {np.log(3)}


@pytest.mark.parametrize("reached", [0.02, 0.55])
def test_the_names_of_figure_1_hide_no_curve(history: Rows, model: Model, reached: float) -> None:
    """Also where Q of the regular GAN comes to read half of the code."""

    def rising(to: float) -> Rows:
        share = {i: to * (1 - 0.9 ** (i / 2)) for i in range(1, 31)}
        rows = [
            (float(i), *[level] * 3, *[level if i % 10 == 0 else None] * 3)
            for i, level in share.items()
        ]
        return Rows(history.columns, rows)

    figure = figures.mutual_information(rising(1.08), rising(reached), model, 60)
    png(figure)
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend is not None
    place = legend.get_window_extent()
    for line in axes.lines:
        points = line.get_transform().transform(line.get_xydata())
        assert place.count_contains(points) == 0, line.get_label()


def test_every_code_is_drawn_to_the_end(history: Rows, model: Model) -> None:
    right = lines(figures.mutual_information(history, None, model, 60), 1)
    assert list(right) == ["$c_{1}$", "$c_{2}$", "$c_{3}$"]
    for (iterations, bounds), code in zip(right.values(), model.codes, strict=True):
        np.testing.assert_array_equal(iterations, [10, 20, 30])
        np.testing.assert_array_equal(bounds, history.column(f"held_out.{code.name}")[9::10])


def test_a_fixed_spread_has_no_information_to_draw(
    history: Rows, make_model: Callable[..., Model]
) -> None:
    figure = figures.mutual_information(history, None, make_model(spread="fixed"), 60)
    assert list(lines(figure, 1)) == ["$c_{1}$"]


def test_without_categorical_codes_all_codes_are_compared(
    history: Rows, make_model: Callable[..., Model]
) -> None:
    model = make_model(codes=["c2 uniform -1 1", "c3 uniform 0 4 x2"])
    left = lines(figures.mutual_information(history, history, model, 60), 0)
    expected = history.column("held_out.c2") + history.column("held_out.c3")
    np.testing.assert_array_equal(left["InfoGAN"][1], expected[9::10])


def test_a_figure_has_the_resolution_that_was_asked_for(images: np.ndarray) -> None:
    small, large = (imread(io.BytesIO(png(figures.samples(images, 7, dpi)))) for dpi in (50, 100))
    assert large.shape[1] == pytest.approx(2 * small.shape[1], abs=2)
