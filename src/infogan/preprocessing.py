"""From images as distributed to images of one shape."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from infogan.errors import UserError
from infogan.options import Shape, Slice, Transform, format_shape


def _compose(transforms: Sequence[Transform]) -> Callable[[np.ndarray], np.ndarray]:
    """The transforms as one function of a uint8 image (C, H, W)."""
    if not transforms:
        return lambda image: image
    import torch  # here, since it takes seconds and many data sets need no transforms
    from torchvision.transforms import v2

    def module(transform: Transform) -> v2.Transform:
        if transform.kind == "grayscale":
            return v2.Grayscale()
        assert transform.size is not None
        if transform.kind == "center_crop":
            return v2.CenterCrop(list(transform.size))
        return v2.Resize(list(transform.size), antialias=True)

    steps = v2.Compose([module(transform) for transform in transforms])
    return lambda image: np.asarray(steps(torch.from_numpy(np.array(image))).numpy())


def prepare(
    images: Sequence[np.ndarray] | np.ndarray,
    part: Slice,
    transforms: Sequence[Transform],
    shape: Shape,
) -> Iterator[np.ndarray]:
    """The images of a slice, transformed one by one: uint8 (C, H, W) each.

    UserError if an image does not end in ``shape``.
    """
    apply = _compose(transforms)
    for index in range(part.first, part.last):
        image = apply(images[index])
        if image.shape != shape:
            raise UserError(
                f"image {index} of {part.split} is {format_shape(image.shape)} after "
                f"data.transforms, but data.shape is {format_shape(shape)}."
            )
        yield image
