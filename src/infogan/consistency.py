"""An extension of the paper: a real image and a deformed copy of it belong to one category.

Q never sees a real image in the paper's objective, so nothing says that its categories follow the
kinds of images that there are. This term does, without labels. Relatives: IMSAT (Hu et al. 2017),
whose objective it is with affine deformations; Elastic-InfoGAN (Ojha et al. 2020).
"""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from infogan.options import Consistency
from infogan.schedules import at

DRAWS = 6  # random numbers of a deformation: rotation, scale x, scale y, shear, shift x, shift y


def deform(images: Tensor, options: Consistency, clock: Tensor, draws: Tensor) -> Tensor:
    """Copies of images, each rotated, scaled, sheared and shifted, (n, C, H, W) -> (n, C, H, W).

    ``draws`` (n, 6) are numbers in [0, 1): what moves each image, evenly between minus and plus
    what the options say at this time. What comes in from outside continues the edge.
    """
    turn, wide, high, slant, right, down = (2 * draws - 1).to(images.dtype).unbind(dim=1)
    angle = turn * at(options.rotation, clock)
    scale = at(options.scale, clock)
    shear = slant * at(options.shear, clock)
    shift = 2 * at(options.shift, clock)  # grid_sample's width is 2
    cos, sin = angle.cos(), angle.sin()
    # Where each pixel of the copy comes from: scaled and sheared, then rotated, then shifted.
    x_scale, y_scale = 1 + wide * scale, 1 + high * scale
    matrix = torch.stack(
        [
            torch.stack([cos * x_scale, cos * shear - sin * y_scale, right * shift], dim=1),
            torch.stack([sin * x_scale, sin * shear + cos * y_scale, down * shift], dim=1),
        ],
        dim=1,
    )
    grid = affine_grid(matrix, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


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
    loss: Tensor = cross_entropy - balance * torch.special.entr(mean).sum()
    return loss
