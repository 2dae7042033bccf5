"""InfoGAN (Chen et al., NIPS 2016, arXiv 1606.03657) as a reproducible pipeline."""

__version__ = "0.1.0"
