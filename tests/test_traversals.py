"""Traversals: by their own laws."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infogan.codes import Categorical, LatentSpace, Uniform
from infogan.networks import Networks, build, to_uint8
from infogan.options import CategoricalPrior, Model, UniformPrior
from infogan.traversals import sample_images, sheet, traversal_values, traverse

PIXELS = (0.0, 1.0)


def code(low: float, high: float, dim: int = 1) -> Uniform:
    return Uniform(UniformPrior("c", low, high, dim), "learned")


def test_limits_count_from_the_middle_in_half_widths() -> None:
    np.testing.assert_allclose(traversal_values(code(-1, 1), 5, (-2, 2)), [-2, -1, 0, 1, 2])
    np.testing.assert_allclose(traversal_values(code(0, 4), 5, (-2, 2)), [-2, 0, 2, 4, 6])
    np.testing.assert_allclose(traversal_values(code(0, 4), 3, (-1, 1)), [0, 2, 4])


def test_a_category_takes_all_its_values_whatever_the_columns() -> None:
    categorical = Categorical(CategoricalPrior("c", 7))
    assert traversal_values(categorical, 3, (-2, 2)).tolist() == list(range(7))


ROWS, COLUMNS = 4, 6


class Recorder(nn.Module):
    """A generator that keeps what it is given, and draws black images."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, latent: Tensor) -> Tensor:
        self.seen.append(latent)
        return torch.zeros(len(latent), 1, 8, 8)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def panels(space: LatentSpace) -> dict[str, Tensor]:
    """The latent vectors (rows, values, L) of every panel."""
    recorder = Recorder()
    shown, _ = traverse(recorder, space, ROWS, COLUMNS, (-2, 2), PIXELS, random())  # type: ignore[arg-type]
    grids = [latent.unflatten(0, (ROWS, -1)) for latent in recorder.seen]
    return dict(zip(shown, grids, strict=True))


VARIED = {"c1": [4, 5, 6], "c2": [7], "c3_0": [8], "c3_1": [9]}


def test_there_is_a_panel_for_every_code_and_dimension(panels: dict[str, Tensor]) -> None:
    assert list(panels) == list(VARIED)


@pytest.mark.parametrize("name", VARIED)
def test_along_a_row_one_code_varies_and_nothing_else(
    panels: dict[str, Tensor], name: str
) -> None:
    grid = panels[name]
    others = [column for column in range(10) if column not in VARIED[name]]
    assert torch.equal(grid[:, :, others], grid[:, :1, others].expand(-1, grid.shape[1], -1))
    assert len(torch.unique(grid[0, :, VARIED[name]], dim=0)) == grid.shape[1]
    # Down a column it is the other way round.
    varied = grid[:, :, VARIED[name]]
    assert torch.equal(varied, varied[:1].expand(ROWS, -1, -1))
    assert len(torch.unique(grid[:, 0, :4], dim=0)) == ROWS


def test_all_panels_show_the_same_rows(panels: dict[str, Tensor], space: LatentSpace) -> None:
    latent = space.sample(ROWS, random())
    for name, grid in panels.items():
        others = [column for column in range(10) if column not in VARIED[name]]
        assert torch.equal(grid[:, 0, others], latent[:, others])


def test_the_categorical_panel_shows_every_category_once(panels: dict[str, Tensor]) -> None:
    assert torch.equal(panels["c1"][0, :, 4:7], torch.eye(3))


def test_the_continuous_panels_show_their_values(panels: dict[str, Tensor]) -> None:
    torch.testing.assert_close(panels["c2"][0, :, 7], torch.linspace(-2, 2, COLUMNS))
    torch.testing.assert_close(panels["c3_1"][0, :, 9], torch.linspace(-2, 6, COLUMNS))


def test_a_traversal_is_the_generator_in_eval_mode(
    networks: Networks, space: LatentSpace, panels: dict[str, Tensor]
) -> None:
    generator = networks.generator
    shown, values = traverse(generator, space, ROWS, COLUMNS, (-2, 2), PIXELS, random())
    assert {name: panel.shape for name, panel in shown.items()} == {
        "c1": (ROWS, 3, 1, 8, 8),
        **dict.fromkeys(("c2", "c3_0", "c3_1"), (ROWS, COLUMNS, 1, 8, 8)),
    }
    generator.eval()
    with torch.no_grad():
        for name, panel in shown.items():
            assert panel.dtype == np.uint8
            assert len(values[name]) == panel.shape[1]
            expected = to_uint8(generator(panels[name].flatten(0, 1)), PIXELS)
            np.testing.assert_array_equal(panel.reshape(-1, 1, 8, 8), expected.numpy())


def test_the_values_of_a_traversal_are_those_of_its_code(
    networks: Networks, space: LatentSpace
) -> None:
    _, values = traverse(networks.generator, space, 1, 3, (-2, 2), PIXELS, random())
    assert values == {"c1": [0, 1, 2], "c2": [-2, 0, 2], "c3_0": [-2, 2, 6], "c3_1": [-2, 2, 6]}


def test_samples_are_random_images_of_a_seed(networks: Networks, space: LatentSpace) -> None:
    first = sample_images(networks.generator, space, 9, PIXELS, random(1))
    assert first.shape == (9, 1, 8, 8)
    assert first.dtype == np.uint8
    again = sample_images(networks.generator, space, 9, PIXELS, random(1))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first, axis=0)) == 9


# --- Sheets --------------------------------------------------------------------------------------


def cell(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """One image of the tiny model's sheet: 8x8, four times enlarged, 2 pixels between, 4 more
    between the panels of three rows.
    """
    top = row * 34 + row // 3 * 4
    return picture[top : top + 32 : 4, column * 34 : column * 34 + 32 : 4, 0]


def test_a_sheet_has_every_code_from_end_to_end_of_its_range(
    networks: Networks, space: LatentSpace
) -> None:
    picture = sheet(networks, space, PIXELS, random())
    shown, _ = traverse(networks.generator, space, 3, 10, (-1, 1), PIXELS, random())
    assert picture.shape == (12 * 34 - 2 + 3 * 4, 10 * 34 - 2, 1)
    assert picture.dtype == np.uint8
    for number, panel in enumerate(shown.values()):
        for row, column in np.ndindex(panel.shape[:2]):
            expected = panel[row, column, 0]
            np.testing.assert_array_equal(cell(picture, 3 * number + row, column), expected)
    assert (picture[:, 3 * 34 :][: 3 * 34] == 255).all()  # c1 has three categories


def test_a_sheet_of_colour_keeps_its_channels(make_model: Callable[..., Model]) -> None:
    blocks = ["fc 2x2x8 bn relu", "upconv 6 s2 bn relu", "upconv 3 s2 sigmoid"]
    model = make_model(generator=blocks)
    networks = build(model, (3, 8, 8), seed=0)
    picture = sheet(networks, LatentSpace(model), PIXELS, random())
    panels, _ = traverse(networks.generator, LatentSpace(model), 3, 10, (-1, 1), PIXELS, random())
    np.testing.assert_array_equal(picture[0, 0], panels["c1"][0, 0, :, 0, 0])


@pytest.mark.parametrize("training", [True, False])
def test_a_sheet_leaves_networks_and_everybodys_random_numbers_as_they_were(
    networks: Networks, space: LatentSpace, training: bool
) -> None:
    networks.train(training)
    before = {name: value.clone() for name, value in networks.state_dict().items()}
    state = torch.get_rng_state()
    sheet(networks, space, PIXELS, random())
    assert all(module.training == training for module in networks.modules())
    for name, value in networks.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), state)
