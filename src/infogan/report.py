"""What a run found: in a few sentences for the terminal, and as one page for the browser."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infogan.errors import UserError
from infogan.options import Claim, Reporting

_REFERENCES = {
    "baseline": "regular GAN's Q",
    "untrained": "untrained network",
    "kmeans": "k-means on pixels",
}
_SCORES = {
    "mig": "MIG",
    "dci_disentanglement": "DCI",
    "sap": "SAP",
    "factor_vae": "FactorVAE",
    "beta_vae": "beta-VAE",
}
# Beyond this many points between the two ways of batch normalisation, the error is not to be
# trusted as one number.
BATCH_NORM_TOLERANCE = 0.02
_STRONGEST = 3  # factors a code in the table of the report


def findings(metrics: Mapping[str, float], alarms: Iterable[str] = ()) -> list[str]:
    """What the numbers say, a sentence each, and the alarms of the training."""
    codes = [name.removeprefix("entropy.") for name in metrics if name.startswith("entropy.")]
    sentences = []
    if "partial.images" in metrics:
        sentences.append(
            f"Partial: {metrics['partial.images']:,.0f} of {metrics['partial.of']:,.0f} images. "
            "No number here is one of the whole data set."
        )
    for code in codes:
        bound, entropy = metrics[f"lower_bound.{code}"], metrics[f"entropy.{code}"]
        what = f"H({code}) = {entropy:.3f}"
        if f"perfect.{code}" in metrics:
            what = f"where a perfect reading with sigma 1 gives {metrics[f'perfect.{code}']:.3f}"
        sentence = f"{code}: L_I = {bound:.3f} nats on fresh codes, {what}"
        if f"baseline_lower_bound.{code}" in metrics:
            sentence += f"; regular GAN {metrics[f'baseline_lower_bound.{code}']:.3f}"
        sentences.append(sentence + ".")
    if "error_one_to_one" in metrics:
        floor = ", ".join(
            f"{words} {metrics[f'error_{name}']:.1%}"
            for name, words in _REFERENCES.items()
            if f"error_{name}" in metrics
        )
        sentences.append(
            f"Unsupervised classification error {metrics['error_one_to_one']:.1%} one-to-one, "
            f"{metrics['error_majority']:.1%} majority"
            + (f"; the floor: {floor}." if floor else ".")
        )
        sentences += _agreement(metrics)
        each = [
            f"{name.removeprefix('error_one_to_one.')} {value:.1%}"
            for name, value in metrics.items()
            if name.startswith("error_one_to_one.")
        ]
        if each:
            sentences.append(f"The error of each categorical code: {', '.join(each)}.")
        for name, whose in (
            ("error_one_to_one", ""),
            ("error_baseline", " of the regular GAN's Q"),
        ):
            again = metrics.get(f"{name}_recalibrated")
            if again is not None and abs(again - metrics[name]) > BATCH_NORM_TOLERANCE:
                sentences.append(
                    f"Careful: with batch-norm statistics of real images the error{whose} is "
                    f"{again:.1%}, more than 2 points apart."
                )
    warnings = [f"Alarm: {words}" for words in alarms]
    more = [*_generated(metrics), *_known_factors(metrics), *_over_seeds(metrics)]
    return [*sentences, *more, *warnings]


def all_alarms(record: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, str]:
    """Words of each alarm of InfoGAN, whatever the seed, and of the regular GAN; of records."""
    of_baseline = {
        f"{kind}, regular GAN": f"Regular GAN: {words}"
        for kind, words in baseline["alarms"].items()
    }
    return {**record["alarms"], **of_baseline}


def matching(categories: Mapping[str, Any]) -> str:
    """Which class each category was matched to on training labels; of ``categories.json``.

    >>> matching({"code": "c1", "class_of_category": [7, -1, 3]})
    'c1, category: class, matched on training labels: 0: 7, 2: 3; 1 of 3 without a class.'
    """
    classes, names = categories["class_of_category"], categories.get("class_names")
    listed = ", ".join(
        f"{place}: {names[each] if names else each}"
        for place, each in enumerate(classes)
        if each >= 0
    )
    left = sum(each < 0 for each in classes)
    rest = f"; {left} of {len(classes)} without a class" if left else ""
    return f"{categories['code']}, category: class, matched on training labels: {listed}{rest}."


def _agreement(metrics: Mapping[str, float]) -> list[str]:
    """How far categories and classes agree, beside the same of the references."""
    told = []
    for reference, words in {"": "", **_REFERENCES}.items():
        ending = f"_{reference}" if reference else ""
        names = [f"{name}{ending}" for name in ("nmi", "ari", "classes_without_category")]
        if all(name in metrics for name in names):
            nmi, ari, without = (metrics[name] for name in names)
            told.append(f"{words} {nmi:.3f}, {ari:.3f}, {without:.0f}".strip())
    listed = "; ".join(told)
    return [f"NMI, ARI and classes without a category: {listed}."] if told else []


def _generated(metrics: Mapping[str, float]) -> list[str]:
    """How good generated images are to a small classifier and, if it was asked, to Inception,
    beside what real images are.
    """
    told = {
        name.removeprefix("generated."): value
        for name, value in metrics.items()
        if name.startswith("generated.")
    }
    sentences = []
    if "frechet_inception_distance" in told:
        distance, of_real, images = (
            told[f"frechet_inception_{name}"]
            for name in ("distance", "distance_of_real", "images")
        )
        sentences.append(
            f"Fréchet inception distance (FID) of {images:,.0f} generated images {distance:.1f} "
            f"(real images {of_real:.1f})."
        )
    if "classifier_accuracy" not in told:
        return sentences
    numbers = ", ".join(
        f"{words} {told[name]:{how}} (real images {told[f'{name}_of_real']:{how}})"
        for name, words, how in (
            ("classifier_frechet_distance", "Fréchet distance", ".1f"),
            ("precision", "precision", ".2f"),
            ("recall", "recall", ".2f"),
        )
    )
    purity = f"; purity of the categories {told['purity']:.2f}" if "purity" in told else ""
    return [
        f"Generated images in the features of a small classifier of this data set "
        f"({told['classifier_accuracy']:.1%} right; not the Inception FID): {numbers}{purity}.",
        *sentences,
    ]


def _over_seeds(metrics: Mapping[str, float]) -> list[str]:
    """Mean, deviation, best and worst of what one looks at first; errors in percent."""
    shown = [
        name
        for name in metrics
        if f"mean.{name}" in metrics
        and (
            name == "error_one_to_one"
            or name.startswith(
                (
                    "lower_bound.",
                    "correlation.",
                    "generated.classifier_frechet",
                    "generated.frechet_inception",
                )
            )
        )
    ]

    def text(name: str, what: str) -> str:
        value = metrics[f"{what}.{name}"]
        return f"{value:.1%}" if name.startswith("error") else f"{value:.3f}"

    listed = "; ".join(
        f"{name} {text(name, 'mean')} ± {text(name, 'deviation')}, "
        f"best {text(name, 'best')}, worst {text(name, 'worst')}"
        for name in shown
    )
    return [f"Over {metrics['seeds']:.0f} seeds: {listed}."] if listed else []


def _known_factors(metrics: Mapping[str, float]) -> list[str]:
    """What the codes have captured of the factors that are known."""
    sentences = []
    captured = [
        (name.removeprefix("correlation."), value)
        for name, value in metrics.items()
        if name.startswith("correlation.") and name.count(".") == 1
    ]
    if captured:
        listed = ", ".join(
            f"{factor} {value:.2f} ({metrics[f'correlation_chance.{factor}']:.2f})"
            for factor, value in captured
            if f"correlation_chance.{factor}" in metrics  # not of an earlier version's evaluation
        )
        if listed:
            sentences.append(
                "Largest |rank correlation| of a continuous code with (in brackets, what chance "
                f"reaches): {listed}."
            )
    told = sorted(
        (
            (value, name.removeprefix("information."))
            for name, value in metrics.items()
            if name.startswith("information.")
            and value > metrics[f"information_chance.{name.removeprefix('information.')}"]
        ),
        reverse=True,
    )
    if told:
        listed = ", ".join(f"{factor} {value:.3f}" for value, factor in told[:5])
        sentences.append(
            f"Most told by a categorical code of real images, in nats, beyond chance: {listed}."
        )
    scores = [f"{words} {metrics[name]:.2f}" for name, words in _SCORES.items() if name in metrics]
    if scores:
        sentences.append(f"Disentanglement: {', '.join(scores)}.")
    return sentences


def strongest(known_factors: Mapping[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """What each code tells most of, a row a code and factor, in words: three factors a code.

    Those farthest beyond chance. ``categorical``: code, factor, information, its share of the
    factor's entropy, and what chance gives. ``continuous``: code, factor, absolute rank
    correlation, and what chance gives.
    """
    rows: dict[str, list[tuple[str, ...]]] = {"categorical": [], "continuous": []}
    if not known_factors:
        return rows
    check_known_factors(known_factors)
    factors, entropies = known_factors["factors"], known_factors["entropy"]
    for kind, found in rows.items():
        part = known_factors[kind]
        parts = zip(part["codes"], part["values"], part["chance"], strict=True)
        for code, values, chances in parts:
            for place in _farthest(values, chances)[:_STRONGEST]:
                told, by_chance = values[place], chances[place]
                if kind == "continuous":
                    numbers: tuple[str, ...] = f"{told:.2f}", f"{by_chance:.2f}"
                else:
                    share = told / entropies[place] if entropies[place] else 0.0
                    numbers = f"{told:.3f}", f"{share:.1%}", f"{by_chance:.3f}"
                found.append((code, factors[place], *numbers))
    return rows


def check_known_factors(known_factors: Mapping[str, Any]) -> None:
    """UserError if they are of an evaluation by an earlier version, which knew less of chance."""
    if known_factors and "margin" not in known_factors["continuous"]:
        raise UserError(
            "known_factors.json was written by an earlier version, which did not say what chance "
            "reaches: evaluate the model again."
        )


def _farthest(values: Sequence[float], chances: Sequence[float]) -> list[int]:
    """Places, the one whose value is farthest beyond chance first."""
    return sorted(range(len(values)), key=lambda place: chances[place] - values[place])


def tells(known_factors: Mapping[str, Any]) -> dict[str, str]:
    """Of each code that tells of a known factor or attribute, the one it tells most of, in words.

    >>> tells({})
    {}
    """
    check_known_factors(known_factors)
    found: dict[str, str] = {}
    for kind in ("categorical", "continuous") if known_factors else ():
        part = known_factors[kind]
        columns = (part[name] for name in ("codes", "values", "chance", "margin"))
        for code, values, chances, margin in zip(*columns, strict=True):
            place = _farthest(values, chances)[0]
            if values[place] - chances[place] <= margin:  # the best of many, but no more
                continue
            factor = known_factors["factors"][place]
            found[code] = (
                f"{factor}, {values[place] / known_factors['entropy'][place]:.1%} of it"
                if kind == "categorical"
                else f"{factor}, rank correlation {values[place]:.2f}"
            )
    return found


def page(
    reporting: Reporting,
    title: str,
    metrics: Mapping[str, float],
    known_factors: Mapping[str, Any],
    figures: Mapping[str, bytes],
    facts: Mapping[str, Any],
    parameters: Mapping[str, Any],
    alarms: Iterable[str] = (),
    extended: str = "",
) -> str:
    """One self-contained HTML page: opens from disk, asks no other address for anything."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("infogan", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        title=title,
        extended=extended,
        findings=findings(metrics, alarms),
        figures=[
            {
                "name": name,
                "caption": caption(reporting.captions, name),
                "data": base64.b64encode(figures[name]).decode(),
            }
            for name in in_order(figures, reporting.captions)
        ],
        claims=[row(claim, metrics) for claim in reporting.claims],
        metrics=metrics,
        strongest=strongest(known_factors),
        facts=facts,
        parameters=parameters,
    )


def caption(captions: Mapping[str, str], name: str) -> str:
    """The caption of a figure; one that has none is at least named."""
    return captions.get(name, name.replace("_", " ").capitalize() + ".")


def titled(reporting: Reporting, card: Mapping[str, Any]) -> str:
    """The title of a report, with the model that the images were rendered from if there is one."""
    model = card["source"].get("model")
    return f"{reporting.title} ({model})" if model else reporting.title


def in_order(figures: Mapping[str, Any], captions: Mapping[str, str]) -> Sequence[str]:
    """The names of figures in the order of their captions; those that have none come last."""
    known = [name for name in captions if name in figures]
    return known + sorted(set(figures) - set(known))


def row(claim: Claim, metrics: Mapping[str, float]) -> dict[str, Any]:
    """A claim of the paper, our numbers, a text each, and how they were measured."""
    ours = [
        f"{name} = {_number(name, metrics[name])}" if name in metrics else f"{name}: not measured"
        for name in claim.metrics
    ]
    return {"claim": claim.claim, "ours": ours, "measured": claim.measured}


def _number(name: str, value: float) -> str:
    return f"{value:.2%}" if name.startswith("error") else f"{value:.4g}"
