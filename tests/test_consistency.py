"""Deformations do what their amounts say; the term rewards categories that survive them."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from infogan.batches import Share
from infogan.consistency import DRAWS, copied, deform, inconsistency
from infogan.options import Consistency

NONE = {"rotation": 0.0, "scale": 0.0, "shear": 0.0, "shift": 0.0}
ROTATION, WIDTH, HEIGHT, SHEAR, RIGHT, DOWN, THICKNESS = range(7)


def options(**changes: Any) -> Consistency:
    """Nothing is moved but by what is named."""
    content = {"codes": ["c1"], "weight": 1.0, "balance": 1.0, **NONE, **changes}
    return Consistency.model_validate(content)


def draws(count: int, **moves: float) -> Tensor:
    """Nothing but the named draws, from -1 to 1, moves anything."""
    found = torch.full((count, DRAWS), 0.5, dtype=torch.float64)
    for name, move in moves.items():
        found[:, globals()[name.upper()]] = (move + 1) / 2
    return found


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 2, 8, 8, dtype=torch.float64)


@pytest.fixture
def clock() -> Tensor:
    return torch.zeros((), dtype=torch.float64)


def source(content: Consistency, some: Tensor, clock: Tensor, size: int = 16) -> Tensor:
    """Matrices that map a pixel of the copy to where it comes from: (n, 2, 3), half widths.

    Seen on images of their own coordinates, which bilinear interpolation reproduces exactly.
    """
    line = (torch.arange(size, dtype=torch.float64) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    found = deform(torch.stack([x, y]).expand(len(some), 2, size, size), content, clock, some)
    middle = slice(size // 2 - 1, size // 2 + 1)  # its source is inside the image
    found = found[:, :, middle, middle]
    by_x = (found[:, :, :, 1] - found[:, :, :, 0]).mean(dim=2) * size / 2
    by_y = (found[:, :, 1] - found[:, :, 0]).mean(dim=2) * size / 2
    return torch.stack([by_x, by_y, found.mean(dim=(2, 3))], dim=2)


# --- Deformations --------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", ["amounts", "draws"])
def test_no_amounts_or_draws_in_the_middle_change_nothing(
    images: Tensor, clock: Tensor, zero: str
) -> None:
    everything = options(rotation=0.5, scale=0.5, shear=0.5, shift=0.5, elastic=0.1, thickness=0.5)
    random = torch.rand(3, DRAWS, dtype=torch.float64)
    found = (
        deform(images, options(), clock, random)
        if zero == "amounts"
        else deform(images, everything, clock, draws(3))
    )
    torch.testing.assert_close(found, images)


def test_a_shift_moves_by_its_share_of_the_size_and_continues_the_edge(
    images: Tensor, clock: Tensor
) -> None:
    quarter = options(shift=0.25)  # two of eight pixels
    right = deform(images, quarter, clock, draws(3, right=1))
    torch.testing.assert_close(right[..., :6], images[..., 2:])
    torch.testing.assert_close(right[..., 6:], images[..., 7:].expand(3, 2, 8, 2))
    left = deform(images, quarter, clock, draws(3, right=-1))
    torch.testing.assert_close(left[..., 2:], images[..., :6])
    torch.testing.assert_close(left[..., :2], images[..., :1].expand(3, 2, 8, 2))
    down = deform(images, quarter, clock, draws(3, down=0.5))
    torch.testing.assert_close(down[:, :, :7], images[:, :, 1:])
    torch.testing.assert_close(down[:, :, 7:], images[:, :, 7:])


@pytest.mark.parametrize(("turn", "quarters"), [(0.5, 1), (1.0, 2), (-0.5, -1)])
def test_a_rotation_is_that_of_torch(
    images: Tensor, clock: Tensor, turn: float, quarters: int
) -> None:
    found = deform(images, options(rotation=math.pi), clock, draws(3, rotation=turn))
    torch.testing.assert_close(found, images.rot90(quarters, dims=(2, 3)))


@pytest.mark.parametrize(("turn", "quarters"), [(0.5, 1), (-0.5, -1)])
def test_a_rotation_of_what_is_not_square_keeps_its_shape(
    clock: Tensor, turn: float, quarters: int
) -> None:
    wide = torch.zeros(1, 1, 8, 16, dtype=torch.float64)
    inner = torch.rand(8, 8, dtype=torch.float64)
    wide[0, 0, :, 4:12] = inner
    found = deform(wide, options(rotation=math.pi), clock, draws(1, rotation=turn))
    torch.testing.assert_close(found[0, 0, :, 4:12], inner.rot90(quarters))


def test_width_and_height_are_scaled_apart_and_by_no_more_than_their_share(clock: Tensor) -> None:
    content = options(scale=0.3)
    by_hand = torch.cat([draws(1, width=1), draws(1, width=-1), draws(1, height=0.5)])
    expected = torch.tensor([[1.3, 1.0], [0.7, 1.0], [1.0, 1.15]], dtype=torch.float64)
    found = source(content, by_hand, clock)
    torch.testing.assert_close(found[:, (0, 1), (0, 1)], expected)
    random = source(content, torch.rand(200, DRAWS, dtype=torch.float64), clock)
    scales = random[:, (0, 1), (0, 1)]
    assert 0.7 <= scales.min() < 0.72
    assert 1.28 < scales.max() <= 1.3
    assert random[:, (0, 1), (1, 0)].abs().max() < 1e-12
    assert random[:, :, 2].abs().max() < 1e-12


def test_a_shear_slants_what_is_upright(clock: Tensor) -> None:
    (found,) = source(options(shear=0.2), draws(1, shear=1), clock)
    expected = torch.tensor([[1, 0.2, 0], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_what_is_scaled_is_then_rotated_and_then_shifted(clock: Tensor) -> None:
    content = options(rotation=0.4, scale=0.2, shear=0.1, shift=0.05)
    some = torch.rand(5, DRAWS, dtype=torch.float64)
    for matrix, draw in zip(source(content, some, clock), 2 * some - 1, strict=True):
        angle = 0.4 * draw[ROTATION].item()
        turned = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
            dtype=torch.float64,
        )
        scaled = torch.tensor(
            [
                [1 + 0.2 * draw[WIDTH].item(), 0.1 * draw[SHEAR].item()],
                [0.0, 1 + 0.2 * draw[HEIGHT].item()],
            ],
            dtype=torch.float64,
        )
        torch.testing.assert_close(matrix[:, :2], turned @ scaled)
        torch.testing.assert_close(matrix[:, 2], 0.1 * draw[RIGHT : DOWN + 1])  # of half widths


@pytest.mark.parametrize(
    ("name", "moves", "place"),
    [
        ("scale", {"width": 1}, (0, 0)),
        ("shear", {"shear": 1}, (0, 1)),
        ("shift", {"down": 1}, (1, 2)),
    ],
)
def test_scheduled_amounts_follow_the_clock(
    name: str, moves: dict[str, float], place: tuple[int, int]
) -> None:
    content = options(**{name: "0.4 to 0 until 8"})
    for iteration, amount in ((0, 0.4), (2, 0.3), (4, 0.2), (8, 0.0), (20, 0.0)):
        clock = torch.tensor(iteration, dtype=torch.float64)
        constant = source(options(**{name: amount}), draws(1, **moves), clock)
        (found,) = source(content, draws(1, **moves), clock)
        torch.testing.assert_close(found, constant[0])
        expected = {"scale": 1 + amount, "shear": amount, "shift": 2 * amount}[name]
        assert found[place].item() == pytest.approx(expected)


def test_a_scheduled_rotation_follows_the_clock(images: Tensor) -> None:
    content = options(rotation=f"{math.pi!r} to 0 until 4")
    for iteration, quarters in ((0, 2), (2, 1), (4, 0)):
        clock = torch.tensor(iteration, dtype=torch.float64)
        found = deform(images, content, clock, draws(3, rotation=1))
        torch.testing.assert_close(found, images.rot90(quarters, dims=(2, 3)))


def elastic(count: int, row: int, column: int, x: float, y: float) -> Tensor:
    """Only one of the 5 x 5 points moves, in units of what is allowed."""
    found = draws(count)
    points = found[:, THICKNESS + 1 :].view(count, 2, 5, 5)
    points[:, 0, row, column], points[:, 1, row, column] = (x + 1) / 2, (y + 1) / 2
    return found


def test_an_elastic_deformation_moves_a_point_by_its_share_and_far_ones_not_at_all() -> None:
    clock, size = torch.zeros((), dtype=torch.float64), 17  # pixel 8 is the middle point
    line = (torch.arange(size, dtype=torch.float64) + 0.5) * 2 / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    images = torch.stack([x, y]).expand(1, 2, size, size)
    found = deform(images, options(elastic=0.05), clock, elastic(1, 2, 2, 1.0, -0.5)) - images
    torch.testing.assert_close(found[0, :, 8, 8], torch.tensor([0.1, -0.05], dtype=torch.float64))
    assert found[0, :, 8, 4].abs().max() < 1e-12  # a neighbouring point
    assert 0.02 < found[0, 0, 8, 6] < 0.1  # between the two
    assert found[0, :, :, :1].abs().max() < 1e-12


@pytest.mark.parametrize("move", [1.0, 0.5, -0.5, -1.0])
def test_a_bright_stroke_grows_or_thins_by_up_to_a_pixel(clock: Tensor, move: float) -> None:
    image = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    image[:, :, 3:6, 3:6] = 1.0
    found = deform(image, options(thickness=1.0), clock, draws(1, thickness=move))
    if move > 0:  # the ring around it
        assert found[0, 0, 2, 4].item() == pytest.approx(move)
        assert found[0, 0, 4, 4].item() == pytest.approx(1)
        assert found[0, 0, 1, 4].item() == pytest.approx(0, abs=1e-12)
    else:
        assert found[0, 0, 3, 4].item() == pytest.approx(1 + move, abs=1e-12)
        assert found[0, 0, 4, 4].item() == pytest.approx(1)
    half = deform(image, options(thickness=0.5), clock, draws(1, thickness=move))
    torch.testing.assert_close(half - image, (found - image) / 2)


def test_each_image_has_a_deformation_of_its_own(images: Tensor, clock: Tensor) -> None:
    content = options(rotation=0.4, scale=0.2, shear=0.1, shift=0.1, elastic=0.05, thickness=0.5)
    some = torch.rand(3, DRAWS, dtype=torch.float64)
    found = deform(images, content, clock, some)
    for i in range(3):
        alone = deform(images[i : i + 1], content, clock, some[i : i + 1])
        torch.testing.assert_close(found[i : i + 1], alone)
    copies = deform(images[:1].expand(3, 2, 8, 8), content, clock, some)
    assert not torch.allclose(copies[0], copies[1])
    assert not torch.allclose(copies[1], copies[2])


def test_pixels_stay_in_their_range(clock: Tensor) -> None:
    images = 5 + torch.rand(50, 1, 8, 8, dtype=torch.float64)
    content = options(rotation=3.0, scale=0.9, shear=0.9, shift=0.9, elastic=0.3, thickness=1.0)
    found = deform(images, content, clock, torch.rand(50, DRAWS, dtype=torch.float64))
    assert found.shape == images.shape
    assert found.min() >= images.min() - 1e-12
    assert found.max() <= images.max() + 1e-12


RANGE = (-1.0, 1.0)


def test_a_copy_has_noise_of_its_own_beside_its_deformation() -> None:
    images, clock = torch.rand(64, 1, 8, 8), torch.zeros(())
    moved, noisy = options(shift=0.2), options(shift=0.2, noise="0.3 to 0 until 4")
    generators = [torch.Generator().manual_seed(1) for _ in range(3)]
    plain = copied(images, moved, clock, RANGE, generators[0])
    some = torch.rand(64, DRAWS, generator=generators[1])
    torch.testing.assert_close(plain, deform(images, moved, clock, some))
    assert torch.equal(*(each.get_state() for each in generators[:2])), "it drew what it needs not"
    noise = copied(images, noisy, clock, RANGE, generators[2]) - plain
    assert noise.std().item() == pytest.approx(0.3 * 2, rel=0.05)  # in units of the range
    assert noise.mean().item() == pytest.approx(0, abs=0.03)
    assert not torch.allclose(noise[0], noise[1])
    clock += 2  # half of it is left
    later = copied(images, noisy, clock, RANGE, torch.Generator().manual_seed(1)) - plain
    torch.testing.assert_close(later, noise / 2)


def test_copies_of_shares_are_those_of_the_whole_batch() -> None:
    images, clock = torch.rand(8, 1, 8, 8), torch.zeros(())
    content = options(rotation=0.5, noise=0.3)
    whole = copied(images, content, clock, RANGE, torch.Generator().manual_seed(1))
    shares = [Share(rank, 4) for rank in range(4)]
    parts = [
        copied(each.of(images), content, clock, RANGE, torch.Generator().manual_seed(1), each)
        for each in shares
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


# --- The term ------------------------------------------------------------------------------------


def certain(categories: list[int], count: int = 4) -> Tensor:
    return 1000 * torch.eye(count, dtype=torch.float64)[categories]


@pytest.mark.parametrize("balance", [0.0, 1.0, 2.5])
def test_agreement_on_all_categories_alike_gives_the_least_value(balance: float) -> None:
    logits = certain([0, 1, 2, 3, 3, 2, 1, 0])
    found = inconsistency(logits, logits, balance)
    assert found.item() == pytest.approx(-balance * math.log(4), abs=1e-12)
    for _ in range(20):
        random = torch.randn(2, 8, 4, dtype=torch.float64) * 5
        assert inconsistency(random[0], random[1], balance) > found


def test_one_category_for_everything_is_consistent_but_not_balanced() -> None:
    logits = certain([2] * 8)
    assert inconsistency(logits, logits, 2.5).item() == pytest.approx(0)


@pytest.mark.parametrize("make", [certain, lambda some: torch.zeros(len(some), 4)])
def test_the_term_is_written_out(make: Callable[[list[int]], Tensor]) -> None:
    of_real = make([0, 1, 1]) + torch.randn(3, 4)
    of_deformed = torch.randn(3, 4, dtype=of_real.dtype)
    p, q = of_real.softmax(dim=1), of_deformed.softmax(dim=1)
    mean = p.mean(dim=0).clamp(min=1e-300)
    expected = -(p * q.log()).sum() / 3 + 0.7 * (mean * mean.log()).sum()
    torch.testing.assert_close(inconsistency(of_real, of_deformed, 0.7), expected)


def test_the_image_itself_is_the_target_and_moves_by_the_entropy_alone() -> None:
    of_real = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    of_deformed = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    inconsistency(of_real, of_deformed, 0.5).backward()  # type: ignore[no-untyped-call]
    alone = of_real.detach().requires_grad_()
    mean = alone.softmax(dim=1).mean(dim=0)
    (0.5 * (mean * mean.log()).sum()).backward()
    torch.testing.assert_close(of_real.grad, alone.grad)
    # Cross entropy with fixed targets: the softmax minus the target.
    expected = (of_deformed.softmax(dim=1) - of_real.softmax(dim=1)) / 6
    torch.testing.assert_close(of_deformed.grad, expected.detach())


def test_without_balance_the_image_itself_is_not_moved() -> None:
    of_real = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    of_deformed = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    inconsistency(of_real, of_deformed, 0.0).backward()  # type: ignore[no-untyped-call]
    assert of_real.grad is not None
    assert not of_real.grad.any()


def test_a_category_that_nobody_has_leaves_gradients_finite() -> None:
    logits = certain([2] * 8).requires_grad_()
    inconsistency(logits, logits, 1.0).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_entropy_is_that_of_everybody() -> None:
    logits, others = certain([0, 0]), certain([0, 0, 1, 1])
    found = inconsistency(logits, logits, 1.0, others)
    assert found.item() == pytest.approx(-math.log(2))
