"""What a person meets who browses MLflow: names of runs, descriptions, columns and charts.

Words and numbers only; ``infogan.tracking`` sends them.
"""

import base64
import hashlib
import json
import shlex
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from infogan.options import CategoricalPrior, Model, Training
from infogan.report import findings
from infogan.tracking import EVALUATION, NOTE, curve, pictures

SOURCE = "mlflow.source.name"
_VIEW = "mlflow.sharedViewState."

_LONGEST = 80  # characters of a name; beyond, no page shows them
_LINE = "\n\n---\n"  # what a person writes below this line of a description is kept
_WORDS = {"L_I_ratio": "L_I is {:.1%} of H(c)", "error": "error {:.1%}"}
_OVER_SEEDS = ("mean", "deviation", "best", "worst")


# --- Runs ----------------------------------------------------------------------------------------


def run_name(
    dataset: str, environment: str, training: Training, changed: Mapping[str, str]
) -> str:
    """What tells a run from its neighbours: ``mnist quick seed 0, 1000 it, lr_g=0.0005``."""
    several = len(training.seeds) > 1
    seeds = f"{len(training.seeds)} seeds" if several else f"seed {training.seed}"
    given = [f", {name.rpartition('.')[2]}={value}" for name, value in changed.items()]
    return f"{dataset} {environment} {seeds}, {training.iterations} it{''.join(given)}"[:_LONGEST]


def own_changes(run_params: Mapping[str, Any], dataset: str) -> dict[str, str]:
    """What the command line says of a dataset, but for what the name of a run says anyway."""
    own = (run_params.get("runtime_params") or {}).get(dataset, {})
    named = "training.iterations", "training.seeds"
    return {name: value for name, value in changes(own).items() if name not in named}


def command(run_params: Mapping[str, Any]) -> str:
    """The `kedro run` that does the same again, of what Kedro tells of a run; `infogan run` of a
    packaged project.
    """
    project = run_params.get("project_path")
    packaged = project is not None and not (Path(project) / "pyproject.toml").exists()
    words = ["infogan" if packaged else "kedro", "run"]
    if run_params.get("pipeline_names"):
        words.append(f"--pipelines={','.join(sorted(run_params['pipeline_names']))}")
    if run_params.get("env"):
        words.append(f"--env={run_params['env']}")
    if run_params.get("conf_source"):
        words.append(f"--conf-source={run_params['conf_source']}")
    given = changes(run_params.get("runtime_params") or {})
    if given:
        words.append("--params=" + ",".join(f"{key}={value}" for key, value in given.items()))
    return shlex.join(words)


def changes(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Parameters of the command line by their whole names, as they are typed.

    >>> changes({"mnist": {"training": {"lr_g": 5e-4, "seeds": [0, 1]}}})
    {'mnist.training.lr_g': '0.0005', 'mnist.training.seeds': '[0,1]'}
    """
    found: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            found |= changes(value, f"{prefix}{key}.")
        else:
            name = f"{prefix}{key}"
            if isinstance(value, str) and (name.endswith(".path") or _is_read_as_it_is(value)):
                found[name] = value
            else:
                found[name] = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return found


def _is_read_as_it_is(text: str) -> bool:
    """Whether a text that is typed without quotation marks is no number, table or comment."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        return bool(OmegaConf.to_container(OmegaConf.from_dotlist([f"it={text}"])) == {"it": text})
    except (OmegaConfBaseException, YAMLError):
        return False


# --- Final numbers -------------------------------------------------------------------------------


def final_numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """The numbers of metrics.json as metrics of a run, with the few that one compares runs by.

    Without a group: what ``headline`` gives. ``eval/``: of the model, of several that of the first
    seed. ``seeds/``: over all seeds.
    """
    named = headline(metrics)
    for name, value in metrics.items():
        what, _, number = name.partition(".")
        over_seeds = what in _OVER_SEEDS and number in metrics
        named[f"seeds/{number}.{what}" if over_seeds else EVALUATION + name] = value
    return named


def headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """``L_I_ratio`` and ``error``, in four digits, as tables of runs show them."""
    return {name: round(value, 4) for name, value in _headline(metrics).items()}


def _headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """The two numbers, of several seeds their mean.

    ``L_I_ratio`` is L_I / H(c), summed over the categorical codes, whose H(c) is a ceiling: 1 is a
    perfect reading. ``error`` is one-to-one. Either is left out where there is no such thing.
    """

    def mean(name: str) -> float:
        return metrics.get(f"mean.{name}", metrics[name])

    # Evaluation measures this of categorical codes alone.
    beginning = "information_real."
    codes = [name.removeprefix(beginning) for name in metrics if name.startswith(beginning)]
    numbers = {}
    if codes:
        entropy = sum(metrics[f"entropy.{code}"] for code in codes)
        numbers["L_I_ratio"] = sum(mean(f"lower_bound.{code}") for code in codes) / entropy
    if "error_one_to_one" in metrics:
        numbers["error"] = mean("error_one_to_one")
    return numbers


# --- Descriptions --------------------------------------------------------------------------------


def describe(
    tags: Mapping[str, str],
    metrics: Mapping[str, float] | None = None,
    seeds: Sequence[Mapping[str, float]] = (),
    alarms: Sequence[str] = (),
) -> str:
    """The description of a run: its result, and how to get it again.

    ``tags`` are those of the run; what somebody has written below the line of its description is
    kept. ``metrics`` are its final numbers, None before there are any; ``seeds`` the same of each
    seed, if there are several.
    """
    return _description(tags, _result(metrics, seeds, alarms) if metrics else ["No result yet."])


def describe_study(tags: Mapping[str, str], runs: Sequence[Mapping[str, Any]]) -> str:
    """The description of a study, of whose ``runs`` each has its own below it."""
    lines = "\n".join(f"* {line}" for line in study_results(runs))
    head = "**Error of the first categorical code, one-to-one**"
    return _description(tags, [head, lines])


def study_results(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each recipe of a study: its errors at the end, in percent.

    >>> study_results(
    ...     [
    ...         {"recipe": "plain", "observations": [{"error_one_to_one": error}]}
    ...         for error in (0.1, 0.04, 0.05)
    ...     ]
    ... )
    ['plain, 3 runs: error 4.0% at best, 5.0% median, 10.0% at worst']
    """
    errors: dict[str, list[float]] = {}
    for run in runs:
        final = run["observations"][-1]["error_one_to_one"]
        errors.setdefault(run["recipe"], []).append(final)
    return [
        f"{recipe}, {len(each)} run{'s' if len(each) > 1 else ''}: error {min(each):.1%} at best, "
        f"{median(each):.1%} median, {max(each):.1%} at worst"
        for recipe, each in errors.items()
    ]


def _description(tags: Mapping[str, str], result: Iterable[str]) -> str:
    parts = list(result)
    if tags.get("extended"):
        parts.append(tags["extended"])
    commit = tags.get("git_commit", "unknown")
    changed = " with uncommitted changes" if tags.get("git_dirty") == "true" else ""
    parts.append(f"Again: `{tags.get(SOURCE)}`, at commit {commit[:10]}{changed}.")
    if "report" in tags:
        name = Path(tags["report"]).name
        parts.append(f"Report: `{name}` among the artifacts, and `{tags['report']}`.")
    return "\n\n".join(parts) + _LINE + tags.get(NOTE, "").partition(_LINE)[2]


def _result(
    metrics: Mapping[str, float], seeds: Sequence[Mapping[str, float]], alarms: Sequence[str]
) -> Iterator[str]:
    codes = [name.removeprefix("entropy.") for name in metrics if name.startswith("entropy.")]
    if headline(metrics):
        over = f" (mean of {len(seeds)} seeds)" if len(seeds) > 1 else ""
        yield f"**{sentence(metrics)}**{over}"
    rows = [
        [
            code,
            f"{metrics[f'lower_bound.{code}']:.3f}",
            f"{metrics[f'entropy.{code}']:.3f}",
            _share(metrics, code),
            _number(metrics.get(f"baseline_lower_bound.{code}")),
        ]
        for code in codes
    ]
    yield _table(["code", "L_I, nats", "H(c)", "L_I / H(c)", "L_I of the regular GAN"], rows)
    if len(seeds) > 1:
        rows = [
            [f"{each['seed']:.0f}", *(_number(_headline(each).get(name)) for name in _WORDS)]
            for each in seeds
        ]
        yield _table(["seed", *_WORDS], rows)
    of_codes = tuple(f"{code}: L_I" for code in codes)  # these the table has said
    others = [each for each in findings(metrics, alarms) if not each.startswith(of_codes)]
    yield "\n".join(f"* {sentence}" for sentence in others)


def sentence(metrics: Mapping[str, float]) -> str:
    """The few numbers that one compares runs by."""
    return ", ".join(_WORDS[name].format(value) for name, value in _headline(metrics).items())


def _share(metrics: Mapping[str, float], code: str) -> str:
    """L_I / H(c) in percent; a dash for a continuous code, of which H(c) is no ceiling."""
    if f"information_real.{code}" not in metrics:
        return "–"
    return f"{metrics[f'lower_bound.{code}'] / metrics[f'entropy.{code}']:.1%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # MLflow's pages leave no room between columns.
    first, *others = [f"| {'&emsp; | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([first, f"|{' --- |' * len(head)}", *others])


# --- Experiments ---------------------------------------------------------------------------------

_COLUMNS = {  # and their widths
    "attributes.`Run Name`": 250,
    "runDateAndNestInfo": 130,  # when it was made
    "tags.`dataset`": 90,
    "tags.`environment`": 110,
    "metrics.`L_I_ratio`": 90,
    "metrics.`error`": 80,
    "tags.`partial`": 110,  # how much of a data set it was, if not all
    "tags.`changes`": 200,
    "params.`training.iterations`": 130,
    "params.`training.seeds`": 110,
    "attributes.`Models`": 140,
    "attributes.`Dataset`": 200,
    "attributes.`Source`": 200,
}


def experiment_tags(title: str, model: Model, training: Training) -> dict[str, str]:
    """The description of an experiment, and a view that has the columns and charts that matter.

    MLflow keeps views, which its pages save, as tags; it has no other way to say which columns
    come first, and none to make a view the first that is seen. A view of other codes is another.
    Its pictures are those at the end of this training, until somebody moves their slider.
    """
    name = "InfoGAN: " + ", ".join(code.name for code in model.codes)
    state = json.dumps(_state(model, training), separators=(",", ":")).encode()
    content = {
        "name": name,
        "createdAt": 0,
        "state": f"deflate;{base64.b64encode(zlib.compress(state, 9)).decode()}",
    }
    number = hashlib.sha256(name.encode()).hexdigest()[:8]
    return {
        NOTE: f"{title}. The columns and charts that matter: Views, {name}.",
        f"{_VIEW}infogan-{number}": json.dumps(content, separators=(",", ":")),
    }


def _state(model: Model, training: Training) -> dict[str, Any]:
    """What MLflow's page of runs stores of itself; what is not said here stays as it is."""
    sections = {
        "As it learns": [
            _pictures("infogan", training.iterations),
            _pictures("baseline", training.baseline_iterations),
        ],
        "Codes: L_I on fresh codes, and H(c)": [
            _lines(
                f"{code.name} ({'at most H' if isinstance(code, CategoricalPrior) else 'and H'})",
                [curve("infogan", f"{kind}.{code.name}") for kind in ("held_out", "entropy")],
            )
            for code in model.codes
        ],
        "Categories: information on real images": [
            _lines(f"{code.name} (at most H)", [curve("infogan", f"information_real.{code.name}")])
            for code in model.codes
            if isinstance(code, CategoricalPrior)
        ],
        "Losses, D(x) and D(G(z, c))": [
            _lines("losses", [curve("infogan", f"loss_{each}") for each in "dg"]),
            _lines("D", [curve("infogan", f"d_{x}") for x in ("real", "fake")]),
        ],
    }
    sections = {title: charts for title, charts in sections.items() if charts}
    return {
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
        "compareRunSections": [
            {"uuid": title, "name": title, "display": True, "isReordered": True}
            for title in sections
        ],
        "compareRunCharts": [
            {"uuid": f"{title} {place}", "metricSectionId": title, "isGenerated": False, **chart}
            for title, charts in sections.items()
            for place, chart in enumerate(charts)
        ],
        "isAccordionReordered": True,
    }


def _lines(title: str, metrics: list[str]) -> dict[str, Any]:
    return {
        "type": "LINE",
        "displayName": title,
        "metricKey": metrics[0],
        "selectedMetricKeys": metrics,
        "xAxisKey": "step",
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
    }


def _pictures(model: str, step: int) -> dict[str, Any]:
    return {
        "type": "IMAGE",
        "displayName": pictures(model),
        "imageKeys": [pictures(model)],
        "step": step,
        "showRunParams": False,
    }
