"""What each code does to the images: one varies, everything else stays.

Nothing here draws or writes. Letters in shapes as in ``codes``.
"""

import numpy as np
import torch

from infogan.codes import Categorical, LatentSpace, Uniform
from infogan.networks import Generator, Networks, evaluating, to_uint8

_SHEET_ROWS, _SHEET_COLUMNS = 12, 10
_SHEET_PIXELS = 32  # of an image at least: enlarged, 8x8 digits can be seen


def traversal_values(
    code: Categorical | Uniform, columns: int, limits: tuple[float, float]
) -> np.ndarray:
    """Values a code takes from left to right.

    Categorical: every category. Continuous: evenly between the limits, which count from the middle
    of the prior's range in units of its half-width; Figure 2 shows -2 to 2.
    """
    if isinstance(code, Categorical):
        return np.arange(code.prior.categories, dtype=np.float64)
    middle = (code.prior.low + code.prior.high) / 2
    half_width = (code.prior.high - code.prior.low) / 2
    return middle + half_width * np.linspace(*limits, columns)


@torch.no_grad()
def traverse(
    generator: Generator,
    space: LatentSpace,
    rows: int,
    columns: int,
    limits: tuple[float, float],
    pixel_range: tuple[float, float],
    random: torch.Generator,
) -> tuple[dict[str, np.ndarray], dict[str, list[float]]]:
    """One panel a code: uint8 (rows, values, C, H, W), and the values of its columns.

    A row is one random sample of everything else; all panels show the same rows. Eval mode, so an
    image does not depend on its neighbours. A code of several dimensions has a panel for each,
    ``NAME_0``, ``NAME_1``, ….
    """
    generator.eval()
    latent = space.sample(rows, random)
    panels, values = {}, {}
    for name, place in space.columns():
        code = space.codes[name]
        several = isinstance(code, Uniform) and code.prior.dim > 1
        for column in range(code.prior.width if several else 1):
            panel = f"{name}_{column}" if several else name
            grid = traversal_values(code, columns, limits)
            varied = latent[:, None].repeat(1, len(grid), 1)  # (rows, values, L)
            if isinstance(code, Categorical):
                varied[:, :, place] = torch.eye(len(grid), device=latent.device)
            else:
                grid_tensor = torch.from_numpy(grid).to(latent)
                varied[:, :, place.start + column] = grid_tensor
            images = generator(varied.flatten(0, 1)).unflatten(0, (rows, len(grid)))
            panels[panel] = to_uint8(images, pixel_range).cpu().numpy()
            values[panel] = [float(value) for value in grid]
    return panels, values


@torch.no_grad()
def sample_images(
    generator: Generator,
    space: LatentSpace,
    count: int,
    pixel_range: tuple[float, float],
    random: torch.Generator,
) -> np.ndarray:
    """Random images, uint8 (count, C, H, W), in eval mode."""
    generator.eval()
    images = generator(space.sample(count, random))
    return to_uint8(images, pixel_range).cpu().numpy()


def sheet(
    networks: Networks,
    space: LatentSpace,
    pixel_range: tuple[float, float],
    random: torch.Generator,
) -> np.ndarray:
    """All codes in one picture, uint8 (height, width, C): a few rows each, in the codes' order.

    From left to right the categories, or the range a continuous code is trained on. Leaves the
    networks as they were: no batch-norm statistic or mode changes.
    """
    panels = sum(1 if isinstance(c, Categorical) else c.prior.dim for c in space.codes.values())
    rows = max(1, _SHEET_ROWS // panels)
    with evaluating(networks):
        shown, _ = traverse(
            networks.generator, space, rows, _SHEET_COLUMNS, (-1, 1), pixel_range, random
        )
    return _tile(list(shown.values()))


def _tile(panels: list[np.ndarray]) -> np.ndarray:
    """Panels (rows, values, C, H, W) below each other, white between images and panels."""
    _, _, channels, height, _ = panels[0].shape
    times = max(1, _SHEET_PIXELS // height)
    gap = max(1, times * height // 16)
    widest = max(panel.shape[1] for panel in panels)
    strips = []
    for panel in panels:
        enlarged = panel.repeat(times, axis=3).repeat(times, axis=4)
        missing = widest - panel.shape[1]
        spaced = np.pad(
            enlarged,
            [(0, 0), (0, missing), (0, 0), (0, gap), (0, gap)],
            constant_values=255,
        )
        rows, values, _, high, wide = spaced.shape
        strip = spaced.transpose(0, 3, 1, 4, 2).reshape(rows * high, values * wide, channels)
        strips.append(np.pad(strip, [(0, 2 * gap), (0, 0), (0, 0)], constant_values=255))
    return np.concatenate(strips)[: -3 * gap, :-gap]
