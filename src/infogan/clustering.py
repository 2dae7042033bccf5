"""An extension of the paper: the categories of a code follow clusters of real images.

InfoGAN's objective is content with any ten kinds of images that Q can tell apart: a high L_I does
not make them digits. So before the game, and without labels, a network like D and Q clusters real
images:

1. Trunk and hidden layers learn to recognise an image in its deformed copy among all others of the
   batch (SimCLR, Chen et al. 2020).
2. k-means on the last hidden layer; its centres become the weights of the code's categories.
3. Trunk and Q learn to give a deformed copy the category of its image, to use all categories alike
   and to be certain of them (RIM, Krause et al. 2010; IMSAT, Hu et al. 2017).

During the game this teacher tells Q the categories of real images. D and Q begin as ever, and G is
told as ever, by L_I alone. A relative: SIMI-ClusterGAN (arXiv 2107.12706).
"""

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from infogan.batches import batches
from infogan.codes import LatentSpace
from infogan.consistency import DRAWS, deform, inconsistency
from infogan.networks import Discriminator, build, evaluating, to_pixels
from infogan.options import Clustering, Model, Shape, Training
from infogan.seeds import CLUSTERING, derive_seed

_PROJECTION = 64  # dimensions in which images are compared while they are told apart
_CLUSTERED = 10_000  # images that k-means sees
_RESTARTS = 5
_GAP = 5.0  # how much larger a centre's own logit is than those of the others, on average


def likeness(images: Tensor, copies: Tensor, temperature: float) -> Tensor:
    """Cross entropy, in nats, of finding the other of each pair among all of the batch.

    Of vectors (n, d) of n images and of their copies: NT-Xent of Chen et al. (2020), section 2.1.
    """
    both = normalize(torch.cat([images, copies]), dim=1)
    similarity = (both @ both.T) / temperature
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    others = torch.arange(len(both), device=both.device).roll(len(images))
    return cross_entropy(similarity.masked_fill(itself, -torch.inf), others)


def frozen(discriminator: Discriminator) -> Discriminator:
    """The network, which learns nothing more."""
    discriminator.zero_grad()
    return discriminator.eval().requires_grad_(False)


def cluster(
    model: Model,
    options: Clustering,
    training: Training,
    images: Tensor | np.ndarray,
    image_shape: Shape,
    device: torch.device,
) -> Generator[None, None, Discriminator]:
    """Train a teacher, an iteration at a time; it is what this gives back.

    ``images`` are uint8 (N, C, H, W), resident or mapped from a file.
    """
    seed, pixel_range = derive_seed(training.seed, CLUSTERING), model.pixel_range
    discriminator = build(model, image_shape, seed).discriminator
    discriminator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    discriminator.train()
    place = dict(LatentSpace(model).q_columns())[options.code]
    *layers, last = discriminator.q_head.children()
    assert isinstance(last, nn.Linear)
    hidden = nn.Sequential(*layers)
    width = last.in_features
    random = torch.Generator(device).manual_seed(seed)
    projection = nn.Linear(width, _PROJECTION, bias=False, device=device)
    nn.init.normal_(projection.weight, 0.0, width**-0.5, generator=random)
    supply = batches(images, training.batch_size, seed, 0, device)
    clock = torch.zeros((), device=device)
    half = torch.autocast(device.type, torch.bfloat16, enabled=training.precision == "bfloat16")

    def pair(head: nn.Module) -> tuple[Tensor, Tensor]:
        pixels = to_pixels(next(supply), pixel_range)
        draws = torch.rand(len(pixels), DRAWS, generator=random, device=device)
        copies = deform(pixels, options, clock, draws)
        with half:
            found = [head(each) for each in discriminator.features(pixels, copies)]
        return found[0].float(), found[1].float()

    def adam(*modules: nn.Module) -> torch.optim.Adam:
        weights = [weight for module in modules for weight in module.parameters()]
        return torch.optim.Adam(weights, lr=options.lr, betas=training.betas, fused=True)

    def learn(optimizer: torch.optim.Adam, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    optimizer = adam(discriminator.trunk, hidden, projection)
    for _ in range(options.iterations):
        ours, theirs = pair(hidden)
        learn(optimizer, likeness(projection(ours), projection(theirs), options.temperature))
        yield

    _set_categories(discriminator, hidden, last, place, pixel_range, _some(images), seed)

    optimizer = adam(discriminator.trunk, discriminator.q_head)
    for done in range(options.refinements):
        for group in optimizer.param_groups:
            group["lr"] = options.lr * (1 - done / options.refinements)  # to come to rest
        ours, theirs = (each[:, place] for each in pair(discriminator.q_head))
        uncertainty = -(ours.softmax(dim=1) * ours.log_softmax(dim=1)).sum(dim=1).mean()
        loss = inconsistency(ours, theirs, balance=1.0) + options.certainty * uncertainty
        learn(optimizer, loss)
        yield
    return frozen(discriminator)


def _some(images: Tensor | np.ndarray) -> Tensor:
    """Images from all over the data set."""
    some = images[:: -(-len(images) // _CLUSTERED)]
    return some if isinstance(some, Tensor) else torch.from_numpy(some.copy())


@torch.no_grad()
def _set_categories(
    discriminator: Discriminator,
    hidden: nn.Module,
    last: nn.Linear,
    place: slice,
    pixel_range: tuple[float, float],
    images: Tensor,
    seed: int,
) -> None:
    """Make the code's logits those of k-means: -|x - centre|^2 / 2, scaled, but for |x|^2."""
    from sklearn.cluster import KMeans  # only who clusters waits for it
    from threadpoolctl import threadpool_limits

    device = last.weight.device
    with evaluating(discriminator):
        found = [
            hidden(discriminator.trunk(to_pixels(part.to(device), pixel_range)))
            for part in torch.split(images, 500)
        ]
    features = torch.cat(found).double().cpu().numpy()
    count = place.stop - place.start
    with threadpool_limits(1):  # sums of several threads are of any order
        means = KMeans(count, n_init=_RESTARTS, random_state=seed % 2**32).fit(features)
    centres = torch.from_numpy(means.cluster_centers_)
    apart = torch.cdist(centres, centres).square().sum() / (count * (count - 1))
    scale = 2 * _GAP / apart
    weight, bias = scale * centres, -scale * centres.square().sum(dim=1) / 2
    # What all categories have in common decides nothing.
    last.weight[place] = (weight - weight.mean(dim=0)).to(last.weight)
    last.bias[place] = (bias - bias.mean()).to(last.bias)


def untaught(target: Tensor, logits: Tensor) -> Tensor:
    """Mean cross entropy, in nats, of logits with the teacher's probabilities, (n, K) each."""
    loss: Tensor = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    return loss
