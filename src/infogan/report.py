"""What a run found: in a few sentences for the terminal, and as one page for the browser."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from infogan.options import Claim, Reporting

_REFERENCES = (
    ("error_baseline", "regular GAN's Q"),
    ("error_untrained", "untrained network"),
    ("error_kmeans", "k-means on pixels"),
)
# Beyond this many points between the two ways of batch normalisation, the error is not to be
# trusted as one number.
_BATCH_NORM_TOLERANCE = 0.02


def findings(metrics: Mapping[str, float]) -> list[str]:
    """What the numbers say, a sentence each."""
    codes = [name.removeprefix("entropy.") for name in metrics if name.startswith("entropy.")]
    sentences = []
    for code in codes:
        bound, entropy = metrics[f"lower_bound.{code}"], metrics[f"entropy.{code}"]
        sentence = f"{code}: L_I = {bound:.3f} nats on fresh codes, H({code}) = {entropy:.3f}"
        if f"baseline_lower_bound.{code}" in metrics:
            sentence += f"; regular GAN {metrics[f'baseline_lower_bound.{code}']:.3f}"
        sentences.append(sentence + ".")
    if "error_one_to_one" in metrics:
        floor = ", ".join(
            f"{words} {metrics[name]:.1%}" for name, words in _REFERENCES if name in metrics
        )
        sentences.append(
            f"Unsupervised classification error {metrics['error_one_to_one']:.1%} one-to-one, "
            f"{metrics['error_majority']:.1%} majority; the floor: {floor}."
        )
        change = metrics["error_one_to_one_recalibrated"] - metrics["error_one_to_one"]
        if abs(change) > _BATCH_NORM_TOLERANCE:
            sentences.append(
                f"Careful: with batch-norm statistics of real images the error is "
                f"{metrics['error_one_to_one_recalibrated']:.1%}, more than 2 points apart."
            )
    return sentences


def page(
    reporting: Reporting,
    metrics: Mapping[str, float],
    figures: Mapping[str, bytes],
    facts: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> str:
    """One self-contained HTML page: opens from disk, asks no other address for anything."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("infogan", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        title=reporting.title,
        findings=findings(metrics),
        figures=[
            {
                "name": name,
                "caption": caption(reporting.captions, name),
                "data": base64.b64encode(figures[name]).decode(),
            }
            for name in _in_order(figures, reporting.captions)
        ],
        claims=[_row(claim, metrics) for claim in reporting.claims],
        metrics=metrics,
        facts=facts,
        parameters=parameters,
    )


def caption(captions: Mapping[str, str], name: str) -> str:
    """The caption of a figure; one that has none is at least named."""
    return captions.get(name, name.replace("_", " ").capitalize() + ".")


def _in_order(figures: Mapping[str, bytes], captions: Mapping[str, str]) -> Sequence[str]:
    known = [name for name in captions if name in figures]
    return known + sorted(set(figures) - set(known))


def _row(claim: Claim, metrics: Mapping[str, float]) -> dict[str, Any]:
    ours = [
        f"{name} = {_number(name, metrics[name])}" if name in metrics else f"{name}: not measured"
        for name in claim.metrics
    ]
    return {"claim": claim.claim, "ours": ours, "measured": claim.measured}


def _number(name: str, value: float) -> str:
    return f"{value:.2%}" if name.startswith("error") else f"{value:.4g}"
