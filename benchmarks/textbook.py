"""InfoGAN as public PyTorch implementations write it: what ours is compared with.

The game, networks and settings are those of a parameter file; the manner is that of tutorials. A
data set of uint8 images goes through PIL, ToTensor and Normalize in a DataLoader; layers are
torch's own in the default memory format; D sees real and generated images in passes of their own;
the G step computes D's gradients, too, and throws them away; Adam is as it comes. Images are
already decoded and in memory, which public loaders of image files would have to do first.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from infogan.options import CategoricalPrior, Layer, Model, Prior, Shape, Training, shapes

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


class Pictures(Dataset):
    """Images (N, C, H, W) in memory, handed out as the data sets of torchvision do."""

    def __init__(self, images: np.ndarray, pixel_range: tuple[float, float]) -> None:
        self.images = images
        steps: list = [transforms.ToTensor()]
        if pixel_range == (-1.0, 1.0):
            channels = images.shape[1]
            steps.append(transforms.Normalize([0.5] * channels, [0.5] * channels))
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """An image and its label."""
        image = self.images[index]
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        return self.transform(picture), 0


class CropLast(nn.Module):
    """What a transposed 4x4 convolution of stride 1 makes too much."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) -> (n, C, H - 1, W - 1)."""
        return x[:, :, :-1, :-1]


def stack(layers: Iterable[Layer], shape: Shape, slope: float) -> nn.Sequential:
    """Torch's own modules for the lines of a network, which takes inputs of the given shape."""
    layers = list(layers)
    modules: list[nn.Module] = []
    for layer, before in zip(layers, shapes(layers, shape), strict=False):
        output = layer.output_shape(before)
        if layer.kind == "fc":
            units = math.prod(output)
            modules += [nn.Flatten()] if len(before) == 3 else []
            modules += [nn.Linear(math.prod(before), units)]
            modules += [nn.BatchNorm1d(units)] if layer.batch_norm else []
            modules += [nn.Unflatten(1, output)] if len(output) == 3 else []
        else:
            channels = (before[0], output[0])
            if layer.kind == "upconv":
                modules += [nn.ConvTranspose2d(*channels, 4, layer.stride, padding=1)]
                modules += [CropLast()] if layer.stride == 1 else []
            elif layer.stride == 1:
                modules += [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(*channels, 4)]
            else:
                modules += [nn.Conv2d(*channels, 4, 2, padding=1)]
            modules += [nn.BatchNorm2d(output[0])] if layer.batch_norm else []
        if layer.activation == "lrelu":
            modules += [nn.LeakyReLU(slope)]
        elif layer.activation:
            modules += [ACTIVATIONS[layer.activation]()]
    return nn.Sequential(*modules)


def weights_init(module: nn.Module) -> None:
    """N(0, 0.02), and N(1, 0.02) for batch norm, as in the DCGAN tutorial."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Textbook:
    """Networks, optimisers, and the two steps."""

    def __init__(
        self, model: Model, training: Training, image_shape: Shape, device: torch.device
    ) -> None:
        self.model, self.training, self.device = model, training, device
        features = shapes(model.trunk, image_shape)[-1]

        def head(layers: tuple[Layer, ...], outputs: int) -> nn.Sequential:
            last = Layer("fc", (outputs,), 1, batch_norm=False, activation=None)
            return stack([*layers, last], features, model.leaky_slope)

        self.generator = stack(model.generator, (model.latent_size,), model.leaky_slope)
        self.trunk = stack(model.trunk, image_shape, model.leaky_slope)
        self.d_head = head(model.d_head, 1)
        self.q_head = head(model.q_head, model.q_outputs)
        self.networks = nn.ModuleList([self.generator, self.trunk, self.d_head, self.q_head])
        self.networks.apply(weights_init).to(device).train()

        discriminator = nn.ModuleList([self.trunk, self.d_head, self.q_head])
        self.optimizer_d = torch.optim.Adam(
            discriminator.parameters(), lr=training.lr_d, betas=training.betas
        )
        self.optimizer_g = torch.optim.Adam(
            self.generator.parameters(), lr=training.lr_g, betas=training.betas
        )
        self.adversarial = nn.BCEWithLogitsLoss()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of our networks, which stand in the same order."""
        own = self.networks.state_dict()
        given = dict(zip(own, state.values(), strict=True))
        self.networks.load_state_dict(given)

    def sample(self, count: int) -> Tensor:
        """Noise and codes side by side, (n, L)."""
        noise = self.model.noise
        if noise.distribution == "normal":
            parts = [torch.randn(count, noise.size, device=self.device)]
        else:
            parts = [torch.rand(count, noise.size, device=self.device) * 2 - 1]
        for code in self.model.codes:
            if isinstance(code, CategoricalPrior):
                categories = torch.randint(code.categories, (count,), device=self.device)
                parts.append(functional.one_hot(categories, code.categories).float())
            else:
                unit = torch.rand(count, code.dim, device=self.device)
                parts.append(unit * (code.high - code.low) + code.low)
        return torch.cat(parts, dim=1)

    def information_loss(self, outputs: Tensor, latent: Tensor) -> Tensor:
        """-sum_i lambda_i L_I(c_i): cross entropy, or a Gaussian's negative log-likelihood."""
        loss = torch.zeros((), device=self.device)
        at, place = self.model.noise.size, 0
        for code in self.model.codes:
            target = latent[:, at : at + code.width]
            loss = loss + self._code_loss(code, outputs[:, place : place + code.outputs], target)
            at, place = at + code.width, place + code.outputs
        return loss

    def _code_loss(self, code: Prior, outputs: Tensor, target: Tensor) -> Tensor:
        if isinstance(code, CategoricalPrior):
            loss = functional.cross_entropy(outputs, target.argmax(dim=1))
            return self.training.lambda_categorical * (loss - code.entropy)
        mean, raw = outputs[:, : code.dim], outputs[:, code.dim :]
        log_sigma = torch.zeros_like(raw) if self.model.spread == "fixed" else raw.clamp(-5, 2)
        squared = (target - mean) ** 2 / (2 * torch.exp(2 * log_sigma))
        loss = (squared + log_sigma + 0.5 * math.log(2 * math.pi)).sum(dim=1).mean()
        return self.training.lambda_continuous * (loss - code.entropy)

    def d_step(self, real: Tensor, latent: Tensor) -> float:
        """Update trunk and both heads; gives loss_D."""
        ones = torch.ones(len(real), 1, device=self.device)
        zeros = torch.zeros(len(real), 1, device=self.device)
        self.optimizer_d.zero_grad()

        loss_real = self.adversarial(self.d_head(self.trunk(real)), ones)
        loss_real.backward()

        fake = self.generator(latent)
        features = self.trunk(fake.detach())
        loss_fake = self.adversarial(self.d_head(features), zeros)
        loss_fake = loss_fake + self.information_loss(self.q_head(features), latent)
        loss_fake.backward()

        self.optimizer_d.step()
        return loss_real.item() + loss_fake.item()

    def g_step(self, latent: Tensor) -> float:
        """Update G; gives loss_G."""
        ones = torch.ones(len(latent), 1, device=self.device)
        self.optimizer_g.zero_grad()
        features = self.trunk(self.generator(latent))
        loss = self.adversarial(self.d_head(features), ones)
        loss = loss + self.information_loss(self.q_head(features), latent)
        loss.backward()
        self.optimizer_g.step()
        return loss.item()

    def loader(self, images: np.ndarray) -> Iterator[Tensor]:
        """Endless minibatches on the device."""
        pictures = Pictures(images, self.model.pixel_range)
        size = self.training.batch_size
        loader = DataLoader(pictures, size, shuffle=True, num_workers=0, drop_last=True)
        for _ in itertools.count():
            for real, _label in loader:
                yield real.to(self.device)

    def train(self, images: np.ndarray) -> Iterator[tuple[float, float]]:
        """Endless iterations; after each, its losses."""
        for real in self.loader(images):
            loss_d = self.d_step(real, self.sample(len(real)))
            yield loss_d, self.g_step(self.sample(len(real)))
