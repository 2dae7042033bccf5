"""The first page of a data folder: the data sets that have a report there, and the paper's claims.

Nothing on it may pass for more than it is: what is partial, shorter or otherwise not as conf/base
has it says so beside its numbers, and a report that is older than the numbers has none here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infogan.options import Reporting
from infogan.report import caption, findings, in_order, row, titled

_LENGTH = "training.iterations"
_THE_RUN = "<h2>The run</h2>"  # of a report, after the pictures: facts and all numbers follow
# Of how a training is carried out, what changes nothing that it finds; of seeds the findings tell.
_MEANS = {
    "seeds",
    "seeds_at_once",
    "device",
    "evaluate_every",
    "log_every",
    "checkpoint_every",
    "resume",
    "cuda_graph",
    "profile",
    "devices",
    "nodes",
}


@dataclass(frozen=True)
class Entry:
    """What the page says of a data set; without ``facts`` it has no numbers, and ``why`` says why.

    ``caveats`` are marks, each with its sentence; ``figure`` is a path from the page.
    """

    dataset: str
    title: str
    claims: Sequence[Mapping[str, Any]]  # rows of the report's table
    why: str = ""
    caveats: Mapping[str, str] = field(default_factory=dict)
    findings: Sequence[str] = ()
    figure: str = ""
    caption: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def without_numbers(dataset: str, reporting: Reporting, why: str) -> Entry:
    """A data set of which there is nothing to show."""
    claims = [{"claim": each.claim, "ours": [], "measured": ""} for each in reporting.claims]
    return Entry(dataset, reporting.title, claims, why)


def reported(
    dataset: str,
    reporting: Reporting,
    metrics: Mapping[str, float],
    record: Mapping[str, Any],
    card: Mapping[str, Any],
    settings: Mapping[str, str],
    figures: Iterable[str],
    headline: str,
    iterations: int,
    extended: str = "",
) -> Entry:
    """A data set that has a report.

    ``settings`` are those that are not as in conf/base, see ``departures``, whose training has
    ``iterations``; ``figures`` the names of its figures; ``headline`` the sentence of the few
    numbers that one compares runs by; ``extended`` what ``options.extensions`` says.
    """
    whole = {name: value for name, value in metrics.items() if not name.startswith("partial.")}
    sentences = findings(whole, record["alarms"].values())
    if headline:  # it sums up what there is to say of each code
        codes = [name.removeprefix("entropy.") for name in metrics if name.startswith("entropy.")]
        of_codes = tuple(f"{code}: L_I" for code in codes)
        sentences = [f"{headline}.", *(s for s in sentences if not s.startswith(of_codes))]

    caveats = {}
    if "partial" in card:
        images, of = card["partial"]["images"], card["partial"]["of"]
        caveats["partial data"] = (
            f"{images:,} of {of:,} images. No number here is one of the whole data set."
        )
    if record["iterations"] < iterations:
        caveats["short run"] = (
            f"{record['iterations']:,} of the {iterations:,} iterations of the experiment."
        )
        settings = {name: each for name, each in settings.items() if name != _LENGTH}
    if extended:
        caveats["extended"] = extended
    if settings:
        listed = ", ".join(f"{name} {how}".strip() for name, how in settings.items())
        caveats["other settings"] = f"Not as in conf/base: {listed}."

    shown = in_order(dict.fromkeys(figures), reporting.captions)
    # What a code does says more, at the size of a stamp, than a curve.
    first = next((name for name in shown if name.startswith("traversal_")), (*shown, "")[0])
    return Entry(
        dataset=dataset,
        title=titled(reporting, card),
        claims=[row(claim, metrics) for claim in reporting.claims],
        caveats=caveats,
        findings=sentences,
        figure=f"{dataset}/figures/{first}.png" if first else "",
        caption=caption(reporting.captions, first) if first else "",
        facts={
            "trained from": record["started"],
            "length": f"{record['iterations']:,} iterations",
            "images": "; ".join(
                f"{split} {each['images']:,}" for split, each in card["splits"].items()
            ),
            **({"trained by": record["command"]} if "command" in record else {}),
            "commit": record["commit"],
            "MLflow run": record["mlflow_run_id"] or "not tracked",
        },
    )


def departures(
    own: Mapping[str, Mapping[str, Any]], base: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Where the settings of a run are not those of conf/base: names, and numbers with theirs.

    Both by block and name, as ``model_dump`` gives them.

    >>> departures({"training": {"iterations": 30}}, {"training": {"iterations": 5000}})
    {'training.iterations': '30 (there 5,000)'}
    """
    found = {}
    for block, values in own.items():
        for name, value in values.items():
            there = base[block].get(name)
            if value == there or (block == "training" and name in _MEANS):
                continue
            numbers = all(type(each) in (int, float) for each in (value, there))
            found[f"{block}.{name}"] = f"{value:,} (there {there:,})" if numbers else ""
    return found


def belongs(report: str, metrics: Mapping[str, float], record: Mapping[str, Any]) -> bool:
    """Whether a report is of this training and holds these numbers, and not of ones before."""
    told = report.partition(_THE_RUN)[2]
    return all(f">{value}<" in told for value in (record["started"], *metrics.values()))


def page(entries: Sequence[Entry], environment: str) -> str:
    """One HTML page, to lie beside the folders of the data sets; it links to nothing else."""
    from jinja2 import Environment, PackageLoader

    loader = PackageLoader("infogan", ".")
    templates = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    shown = [each for each in entries if each.facts]
    others = [each for each in entries if not each.facts]
    return templates.get_template("index.html.j2").render(
        reported=shown,
        others=others,
        claimed=[each for each in (*shown, *others) if each.claims],
        environment=environment,
    )
