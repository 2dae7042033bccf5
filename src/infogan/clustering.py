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
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from infogan.batches import batches
from infogan.codes import LatentSpace
from infogan.consistency import copied, inconsistency
from infogan.errors import UserError
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


class Apprentice:
    """A teacher while it learns; with options and images, ``state_dict`` is all it needs to go on.

    ``done`` counts iterations, those that tell images apart and then those that refine.
    """

    def __init__(
        self,
        model: Model,
        options: Clustering,
        training: Training,
        image_shape: Shape,
        device: torch.device,
    ) -> None:
        self.done, self.iterations = 0, options.iterations + options.refinements
        self._options, self._training, self._pixel_range = options, training, model.pixel_range
        self._device = device
        self._seed = derive_seed(training.seed, CLUSTERING)
        self._discriminator = build(model, image_shape, self._seed).discriminator
        self._discriminator.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._discriminator.train()
        self._place = dict(LatentSpace(model).q_columns())[options.code]
        *layers, last = self._discriminator.q_head.children()
        assert isinstance(last, nn.Linear)
        self._hidden, self._last = nn.Sequential(*layers), last
        width = last.in_features
        self._random = torch.Generator(device).manual_seed(self._seed)
        self._projection = nn.Linear(width, _PROJECTION, bias=False, device=device)
        nn.init.normal_(self._projection.weight, 0.0, width**-0.5, generator=self._random)
        self._clock = torch.zeros((), device=device)
        bfloat16 = training.precision == "bfloat16"
        self._half = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)
        self._optimizer = self._adam(self._discriminator.trunk, self._hidden, self._projection)

    def state_dict(self) -> dict[str, Any]:
        """Everything as plain values and tensors."""
        return {
            "done": self.done,
            "discriminator": self._discriminator.state_dict(),
            "projection": self._projection.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "random": self._random.get_state(),
            "device": self._device.type,  # whose generator that is
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what ``state_dict`` gave, on this one's device."""
        self.done = state["done"]
        self._discriminator.load_state_dict(state["discriminator"])
        self._projection.load_state_dict(state["projection"])
        if self.done > self._options.iterations:
            self._optimizer = self._refiner()
        self._optimizer.load_state_dict(state["optimizer"])
        if state["device"] == self._device.type:
            self._random.set_state(state["random"].cpu())
        else:  # which cannot be gone on with; so what is drawn is new
            self._random.manual_seed(derive_seed(self._seed, self.done))

    def learn(self, images: Tensor | np.ndarray) -> Generator[None, None, Discriminator]:
        """Learn, an iteration at a time, and become the teacher, which is what this gives back.

        ``images`` are uint8 (N, C, H, W), resident or mapped from a file. It may be saved whenever
        the generator waits.
        """
        options, place = self._options, self._place
        size = self._training.batch_size
        supply = batches(images, size, self._seed, self.done, self._device)

        while self.done < options.iterations:
            ours, theirs = self._pair(next(supply), self._hidden)
            to_compare = self._projection(ours), self._projection(theirs)
            self._step(likeness(*to_compare, options.temperature))
            yield

        if self.done == options.iterations:
            self._set_categories(_some(images))
            self._optimizer = self._refiner()

        while self.done < self.iterations:
            refined = self.done - options.iterations
            for group in self._optimizer.param_groups:
                group["lr"] = options.lr * (1 - refined / options.refinements)  # to come to rest
            outputs = self._pair(next(supply), self._discriminator.q_head)
            ours, theirs = (each[:, place] for each in outputs)
            uncertainty = -(ours.softmax(dim=1) * ours.log_softmax(dim=1)).sum(dim=1).mean()
            self._step(inconsistency(ours, theirs, balance=1.0) + options.certainty * uncertainty)
            yield
        self.check()
        return frozen(self._discriminator)

    def check(self) -> None:
        """UserError unless all weights are finite."""
        modules = self._discriminator, self._projection
        weights = [value for module in modules for value in module.state_dict().values()]
        # A sum is finite only if all are, and it is the cheapest look at them.
        sums = torch.stack([value.float().sum() for value in weights])
        self._refuse_unless(bool(sums.isfinite().all()))

    def _refuse_unless(self, finite: bool) -> None:
        if not finite:
            raise UserError(
                f"training.clustering: after {self.done} iterations the teacher is not finite; a "
                f"smaller lr than {self._options.lr} may help."
            )

    def _pair(self, batch: Tensor, head: nn.Module) -> tuple[Tensor, Tensor]:
        """What the head makes of images and of deformed copies of them."""
        pixels = to_pixels(batch, self._pixel_range)
        copies = copied(pixels, self._options, self._clock, self._pixel_range, self._random)
        with self._half:
            found = [head(each) for each in self._discriminator.features(pixels, copies)]
        return found[0].float(), found[1].float()

    def _step(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.done += 1

    def _refiner(self) -> torch.optim.Adam:
        return self._adam(self._discriminator.trunk, self._discriminator.q_head)

    def _adam(self, *modules: nn.Module) -> torch.optim.Adam:
        weights = [weight for module in modules for weight in module.parameters()]
        betas = self._training.betas
        return torch.optim.Adam(weights, lr=self._options.lr, betas=betas, fused=True)

    @torch.no_grad()
    def _set_categories(self, images: Tensor) -> None:
        """Make the code's logits those of k-means: -|x - centre|^2 / 2, scaled, but for |x|^2."""
        from sklearn.cluster import KMeans  # only who clusters waits for it
        from threadpoolctl import threadpool_limits

        discriminator, last, place = self._discriminator, self._last, self._place
        with evaluating(discriminator):
            parts = (each.to(self._device) for each in torch.split(images, 500))
            found = [
                self._hidden(discriminator.trunk(to_pixels(part, self._pixel_range)))
                for part in parts
            ]
        features = torch.cat(found).double().cpu().numpy()
        self._refuse_unless(bool(np.isfinite(features).all()))
        count = place.stop - place.start
        with threadpool_limits(1):  # sums of several threads are of any order
            means = KMeans(count, n_init=_RESTARTS, random_state=self._seed % 2**32).fit(features)
        centres = torch.from_numpy(means.cluster_centers_)
        apart = torch.cdist(centres, centres).square().sum() / (count * (count - 1))
        if not apart > 0:
            raise UserError(
                f"training.clustering: after {self.done} iterations all images look alike, so "
                f"there are no {count} clusters; a smaller lr than {self._options.lr} may help, "
                "unless the images are all the same."
            )
        scale = 2 * _GAP / apart
        weight, bias = scale * centres, -scale * centres.square().sum(dim=1) / 2
        # What all categories have in common decides nothing.
        last.weight[place] = (weight - weight.mean(dim=0)).to(last.weight)
        last.bias[place] = (bias - bias.mean()).to(last.bias)


def _some(images: Tensor | np.ndarray) -> Tensor:
    """Images from all over the data set."""
    some = images[:: -(-len(images) // _CLUSTERED)]
    return some if isinstance(some, Tensor) else torch.from_numpy(some.copy())


def untaught(target: Tensor, logits: Tensor) -> Tensor:
    """Mean cross entropy, in nats, of logits with the teacher's probabilities, (n, K) each."""
    loss: Tensor = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    return loss
