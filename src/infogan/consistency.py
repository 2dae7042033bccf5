"""An extension of the paper: a real image and a deformed copy of it belong to one category.

Q never sees a real image in the paper's objective, so nothing says that its categories follow the
kinds of images that there are. This term does, without labels. Relatives: IMSAT (Hu et al. 2017),
which asks for certainty, too; Elastic-InfoGAN (Ojha et al. 2020).
"""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, max_pool2d

from infogan.batches import ALONE, Share
from infogan.options import Deformation
from infogan.schedules import Amount, at

_POINTS = 5  # along each side; an elastic deformation moves these, and what is between follows
# Random numbers of a deformation: rotation, scale x, scale y, shear, shift x, shift y, thickness,
# and where each point moves.
DRAWS = 7 + 2 * _POINTS**2


def deform(images: Tensor, options: Deformation, clock: Tensor, draws: Tensor) -> Tensor:
    """Copies of images, each deformed in its own way but for noise: (n, C, H, W) -> the same.

    Strokes grow or thin; then the image is scaled, sheared, rotated and shifted, with an elastic
    movement beside. ``draws`` (n, DRAWS) are numbers in [0, 1): what moves each image, evenly
    between minus and plus what the options say at this time. What comes in from outside continues
    the edge.
    """
    moves = (2 * draws - 1).to(images.dtype)
    turn, wide, high, slant, right, down, thick = moves[:, :7].unbind(dim=1)
    angle = turn * at(options.rotation, clock)
    scale = at(options.scale, clock)
    shear = slant * at(options.shear, clock)
    shift = 2 * at(options.shift, clock)  # grid_sample's width is 2
    cos, sin = angle.cos(), angle.sin()
    # Where each pixel of the copy comes from: scaled and sheared, then rotated, then shifted.
    x_scale, y_scale = 1 + wide * scale, 1 + high * scale
    slope = images.shape[2] / images.shape[3]  # of grid_sample's coordinates, 2 by 2 in any case
    x_of_y, y_of_x = (cos * shear - sin * y_scale) * slope, sin * x_scale / slope
    matrix = torch.stack(
        [
            torch.stack([cos * x_scale, x_of_y, right * shift], dim=1),
            torch.stack([y_of_x, sin * shear + cos * y_scale, down * shift], dim=1),
        ],
        dim=1,
    )
    grid = affine_grid(matrix, list(images.shape), align_corners=False)
    if _happens(options.elastic):
        points = moves[:, 7:].view(-1, 2, _POINTS, _POINTS) * (2 * at(options.elastic, clock))
        size = list(images.shape[2:])
        smooth = interpolate(points, size, mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    if _happens(options.thickness):
        images = _thickened(images, (thick * at(options.thickness, clock))[:, None, None, None])
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def copied(
    images: Tensor,
    options: Deformation,
    clock: Tensor,
    pixel_range: tuple[float, float],
    random: torch.Generator,
    share: Share = ALONE,
) -> Tensor:
    """Copies of images, (n, C, H, W), each with a deformation and noise of its own.

    Noise may leave the range of pixels. Of several processes, each draws for the images of all and
    takes what its own get.
    """
    count = len(images) * share.processes
    draws = torch.rand(count, DRAWS, generator=random, device=images.device)
    copies = deform(images, options, clock, share.of(draws))
    return noisy(copies, options.noise, clock, pixel_range, random, share)


def noisy(
    images: Tensor,
    deviation: Amount,
    clock: Tensor,
    pixel_range: tuple[float, float],
    random: torch.Generator,
    share: Share = ALONE,
) -> Tensor:
    """Images, (n, C, H, W), with normal noise; at a deviation of 0 as they are, and none is drawn.

    ``deviation`` is in units of ``pixel_range``, which the result may leave.
    """
    if not _happens(deviation):
        return images
    low, high = pixel_range
    shape = (len(images) * share.processes, *images.shape[1:])
    noise = torch.randn(shape, generator=random, device=images.device)
    return images + share.of(noise) * (at(deviation, clock) * (high - low))


def _happens(amount: Amount) -> bool:
    return amount != 0


def _thickened(images: Tensor, amount: Tensor) -> Tensor:
    """Between each image and the brightest (above 0) or the darkest (below) of 3 x 3 pixels."""
    grown, thinned = max_pool2d(images, 3, 1, 1), -max_pool2d(-images, 3, 1, 1)
    grows, thins = amount.clamp(min=0), (-amount).clamp(min=0)
    return images + grows * (grown - images) + thins * (thinned - images)


def inconsistency(
    of_real: Tensor, of_deformed: Tensor, balance: float, everybody: Tensor | None = None
) -> Tensor:
    """Cross entropy of both categories, minus ``balance`` times the entropy of their mean.

    Of the logits of one categorical code, (n, K) each, in nats; at least ``-balance * ln K``. The
    category of the image itself is the target and is not moved; the entropy keeps all categories
    in use. ``everybody``: logits of a larger batch that the mean is taken over, (m, K).
    """
    target = of_real.detach().softmax(dim=1)
    cross_entropy = -(target * of_deformed.log_softmax(dim=1)).sum(dim=1).mean()
    mean = (of_real if everybody is None else everybody).softmax(dim=1).mean(dim=0)
    mean = mean.clamp(min=torch.finfo(mean.dtype).tiny)  # the slope of entropy at 0 is infinite
    loss: Tensor = cross_entropy - balance * torch.special.entr(mean).sum()
    return loss
