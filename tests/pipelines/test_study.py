"""A study trains each recipe and seed once, goes on after an interruption, and tells no tales."""

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infogan import evaluation, quality, study, tracking
from infogan.datasets.values import Arrays
from infogan.errors import UserError
from infogan.options import Model, Reporting, Study, Training
from infogan.pipelines.study import nodes
from infogan.pipelines.study.nodes import draw_study, run_study, write_study

STUDY: dict[str, Any] = {
    "seeds": [0, 1],
    "seed": 0,
    "mapping_images": 20,
    "stability_images": 8,
    "generated_images": 0,
    "recipes": {
        "plain": {},
        "consistent": {
            "training": {
                "consistency": {
                    "codes": ["c1"],
                    "weight": 0.5,
                    "balance": 1.0,
                    "rotation": 0.2,
                    "scale": 0.1,
                    "shear": 0.1,
                    "shift": 0.1,
                }
            }
        },
    },
}
CARD: dict[str, Any] = {
    "shape": [1, 8, 8],
    "splits": {
        "train": {"sha256": "abc", "images": 20},
        "test": {"sha256": "def", "images": 20},
    },
}
REPORTING = Reporting(title="Toy", dpi=60, captions={}, claims=())


@pytest.fixture(autouse=True)
def untracked() -> Iterator[None]:
    tracking.activate(tracking.Tracker())
    yield
    tracking.activate(tracking.Tracker())


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds that are trained, as they are."""
    seeds: list[int] = []
    original = nodes.fit_observed

    def counted(*args: Any) -> Any:
        seeds.append(args[4].seed)
        return original(*args)

    monkeypatch.setattr(nodes, "fit_observed", counted)
    return seeds


RunStudy = Callable[..., dict[str, Any]]


def run_toy(
    folder: Path,
    images: np.ndarray,
    model: Model,
    training: Training,
    labels: np.ndarray | None = None,
    card: dict[str, Any] = CARD,
    **changes: Any,
) -> dict[str, Any]:
    labels = np.arange(len(images)) % 3 if labels is None else labels
    folder.mkdir(exist_ok=True)
    return run_study(
        Arrays({"train": images[:20], "test": images[20:]}),
        Arrays({"train": labels[:20], "test": labels[20:]}),
        card,
        folder,
        model,
        training,
        Study.model_validate({**STUDY, **changes}),
    )


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory, model: Model, training: Training
) -> tuple[Path, dict[str, Any]]:
    """A whole study: its folder, and what it gave."""
    folder = tmp_path_factory.mktemp("done")
    pictures = np.random.default_rng(0).integers(0, 256, (28, 1, 8, 8), dtype=np.uint8)
    return folder, run_toy(folder, pictures, model, training)


@pytest.fixture
def first(done: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return done[1]


@pytest.fixture
def study_of(
    images: np.ndarray,
    tmp_path: Path,
    done: tuple[Path, dict[str, Any]],
    model: Model,
    training: Training,
) -> RunStudy:
    """Run the study with changes, where the whole one was run before."""
    folder = shutil.copytree(done[0], tmp_path / "study")
    return lambda folder=folder, **changes: run_toy(folder, images, model, training, **changes)


def told(runs: dict[str, Any]) -> list[dict[str, Any]]:
    """What does not depend on the clock."""
    clocks = ("seconds", "started")
    return [
        {
            **{key: value for key, value in run.items() if key not in clocks},
            "observations": [
                {key: value for key, value in seen.items() if key not in clocks}
                for seen in run["observations"]
            ],
        }
        for run in runs["runs"]
    ]


def test_each_recipe_is_trained_with_each_seed(first: dict[str, Any]) -> None:
    runs = first["runs"]
    assert [(run["recipe"], run["seed"]) for run in runs] == [
        ("plain", 0),
        ("consistent", 0),
        ("plain", 1),
        ("consistent", 1),
    ]
    assert all([o["iteration"] for o in run["observations"]] == [0, 5, 10] for run in runs)
    assert len({run["fingerprint"] for run in runs}) == 2  # the seed is not part of it


def test_what_is_done_is_not_done_again(
    study_of: RunStudy, first: dict[str, Any], trained: list[int]
) -> None:
    assert study_of() == first
    assert trained == []


def test_a_further_seed_trains_that_seed_only(
    study_of: RunStudy, first: dict[str, Any], trained: list[int]
) -> None:
    more = study_of(seeds=[0, 1, 2])
    assert trained == [2, 2]
    assert more["runs"][:4] == first["runs"]


def test_a_changed_recipe_is_trained_anew_and_the_others_are_not(
    study_of: RunStudy, trained: list[int]
) -> None:
    recipes = {**STUDY["recipes"], "plain": {"training": {"lr_g": 5e-3}}}
    study_of(recipes=recipes)
    assert trained == [0, 1]


def test_a_longer_study_is_trained_anew(study_of: RunStudy, trained: list[int]) -> None:
    longer = study_of(seeds=[0], common={"training": {"iterations": 15}})
    assert trained == [0, 0]
    assert [run["iterations"] for run in longer["runs"]] == [15, 15]


def test_a_run_that_another_seed_would_judge_is_trained_and_judged_anew(
    study_of: RunStudy, trained: list[int]
) -> None:
    study_of(seeds=[0], seed=1)
    assert trained == [0, 0]


def test_a_run_that_was_judged_on_other_images_is_trained_and_judged_anew(
    images: np.ndarray,
    study_of: RunStudy,
    tmp_path: Path,
    model: Model,
    training: Training,
    trained: list[int],
) -> None:
    splits = {**CARD["splits"], "test": {"sha256": "other", "images": 20}}
    study_of(card={**CARD, "splits": splits})
    assert trained == [0, 0, 1, 1]

    for path in (tmp_path / "study").glob("*.json"):  # as earlier versions have written them
        run = json.loads(path.read_text())
        path.write_text(json.dumps({key: run[key] for key in run if key != "test_sha256"}))
    study_of()
    assert trained == [0, 0, 1, 1]
    fewer = run_toy(tmp_path / "study", images[:26], model, training)
    assert trained == [0, 0, 1, 1] * 2
    assert {len(run["categories"]) for run in fewer["runs"]} == {6}


def test_an_interrupted_study_goes_on_to_the_same_result(
    study_of: RunStudy, first: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = 0
    original = nodes._Judge.observe

    def interrupted(*args: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == 6:  # of the second run, at its last iteration
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(nodes._Judge, "observe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study_of(tmp_path / "broken")
    assert [path.name for path in (tmp_path / "broken").glob("*.json")] == ["plain.0.json"]
    monkeypatch.setattr(nodes._Judge, "observe", original)
    assert told(study_of(tmp_path / "broken")) == told(first)


def test_nothing_but_results_is_left(done: tuple[Path, dict[str, Any]]) -> None:
    left = {path.name for path in done[0].rglob("*")}
    assert left == {f"{name}.{seed}.json" for name in STUDY["recipes"] for seed in (0, 1)}


def test_a_finished_run_leaves_the_checkpoints_of_an_interrupted_one(
    study_of: RunStudy, tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {"plain": {}}
    original = nodes._Judge.observe
    began = iter(range(3))

    def interrupted(*args: Any) -> Any:
        if next(began) == 2:  # at the last iteration
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(nodes._Judge, "observe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study_of(tmp_path / "two", seeds=[3], recipes=recipes)
    monkeypatch.setattr(nodes._Judge, "observe", original)
    there = sorted((tmp_path / "two").rglob("infogan.3.*.pt"))
    assert there
    study_of(tmp_path / "two", seeds=[5], recipes=recipes)  # of the same fingerprint
    assert sorted((tmp_path / "two").rglob("*.pt")) == there
    study_of(tmp_path / "two", seeds=[3, 5], recipes=recipes)
    assert trained == [3, 5, 3]
    assert not (tmp_path / "two" / "checkpoints").exists()


def test_no_label_enters_what_is_trained(
    images: np.ndarray, tmp_path: Path, model: Model, training: Training
) -> None:
    labels = np.arange(28) % 3
    others = np.random.default_rng(1).permutation(labels)
    first, again = (
        run_toy(tmp_path / name, images, model, training, each, seeds=[0])["runs"]
        for name, each in (("first", labels), ("again", others))
    )
    judged = False
    for one, other in zip(first, again, strict=True):
        for name in ("lower_bound", "categories", "stability", "continuous"):
            assert one[name] == other[name]
        for seen, again_seen in zip(one["observations"], other["observations"], strict=True):
            assert seen["information"] == again_seen["information"]
        judged |= one["observations"][-1]["test_table"] != other["observations"][-1]["test_table"]
    assert judged  # by labels that are others indeed


def test_a_bad_recipe_is_refused_before_anything_is_trained(
    study_of: RunStudy, trained: list[int]
) -> None:
    with pytest.raises(UserError, match="lr_x is not a known key"):
        study_of(recipes={"plain": {}, "bad": {"training": {"lr_x": 1.0}}})
    assert trained == []


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"model": {"codes": ["c2 uniform -1 1"]}}, "the model has no such code"),
        ({"model": {"generator": ["fc 2x2x8 bn relu", "upconv 1 s2 sigmoid"]}}, "ends in images"),
        ({"training": {"batch_size": 21}}, "batch_size is 21, but there are only 20 images"),
        (
            {
                "model": {"codes": ["digit categorical 3"]},
                **STUDY["recipes"]["consistent"],
            },
            "consistency.codes names 'c1'",
        ),
    ],
)
def test_a_recipe_whose_parts_do_not_fit_is_refused_before_anything_is_trained(
    study_of: RunStudy, trained: list[int], recipe: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=rf"^study\.recipes\.bad: .*{words}"):
        study_of(seeds=[7], recipes={"plain": {}, "bad": recipe})
    assert trained == []


def test_without_labels_there_is_no_study(
    images: np.ndarray, tmp_path: Path, model: Model, training: Training
) -> None:
    none = Arrays({"train": np.zeros(0, np.int64), "test": np.zeros(0, np.int64)})
    pictures = Arrays({"train": images, "test": images})
    study = Study.model_validate(STUDY)
    with pytest.raises(UserError, match="the data set has none"):
        run_study(pictures, none, {}, tmp_path, model, training, study)


def test_a_study_in_several_processes_is_refused(study_of: RunStudy) -> None:
    with pytest.raises(UserError, match="one process"):
        study_of(seeds=[5], common={"training": {"devices": 2}})


def test_the_page_has_the_numbers_of_the_runs(first: dict[str, Any]) -> None:
    runs = first
    page = write_study(runs, CARD, Study.model_validate(STUDY), REPORTING)
    for run in runs["runs"]:
        error = 100 * run["observations"][-1]["error_one_to_one"]
        assert f"| {run['recipe']} | {run['seed']} | {error:.2f} |" in page
    finals = [
        100 * run["observations"][-1]["error_one_to_one"]
        for run in runs["runs"]
        if run["recipe"] == "plain"
    ]
    assert f"| plain | {len(finals)} | **{np.median(finals):.1f}** |" in page
    assert page.count("| cpu, float32 | `") == len(runs["runs"])  # where each was computed
    assert "Generated images" not in page  # none were made
    assert "20 training images" in page
    assert "share of 8 test images" in page


def test_a_choice_among_equals_is_told_as_one(first: dict[str, Any]) -> None:
    study = Study.model_validate(STUDY)
    equal = [{**run, "stability": 0.5} for run in first["runs"]]
    page = write_study({"runs": equal}, CARD, study, REPORTING)
    seeds = {run["seed"] for run in equal}
    assert f"| plain | stability | {equal[0]['seed']} (of {len(seeds)} equals) |" in page
    clear = [{**run, "stability": 0.1 * run["seed"]} for run in first["runs"]]
    page = write_study({"runs": clear}, CARD, study, REPORTING)
    assert f"| plain | stability | {max(seeds)} |" in page


def test_one_recipe_of_many_can_be_asked_for(study_of: RunStudy, tmp_path: Path) -> None:
    recipes = {"plain": {}, "other": {"training": {"lr_g": 5e-3}}}
    runs = study_of(tmp_path, seeds=[0], recipes=recipes, only=["other"])["runs"]
    assert [run["recipe"] for run in runs] == ["other"]
    assert {path.name for path in tmp_path.glob("*.json")} == {"other.0.json"}
    with pytest.raises(
        UserError, match=r"^study\.only: 'othr' is none of the recipes, .* plain, other\.$"
    ):
        study_of(tmp_path, seeds=[0], recipes=recipes, only=["othr"])


def test_recipes_of_other_lengths_and_codes_have_their_own_cells(study_of: RunStudy) -> None:
    recipes = {
        "plain": {},
        "longer": {
            "model": {"codes": ["c1 categorical 3"]},
            "training": {"iterations": 15, "evaluate_every": 15},
        },
    }
    study = Study.model_validate({**STUDY, "seeds": [0], "recipes": recipes})
    runs = study_of(seeds=[0], recipes=recipes)
    page = write_study(runs, CARD, study, REPORTING)
    assert "| recipe | 5 | 10 | 15 |" in page
    assert "Choosing a run" not in page  # there is one of each
    errors = [
        [f"{100 * each['error_one_to_one']:.1f}" for each in run["observations"]]
        for run in runs["runs"]
    ]
    assert f"| plain | {errors[0][1]} | {errors[0][2]} | – |" in page
    assert f"| longer | – | – | {errors[1][1]} |" in page
    assert re.search(r"^\| longer \| 0 \|.*\| – \| – \|", page, re.M)  # no continuous code


def test_the_page_says_that_code_differed_from_its_commit(first: dict[str, Any]) -> None:
    study = Study.model_validate(STUDY)
    commits = ["0123456789abcdef", "0123456789abcdef+dirty"] * 2
    runs = [{**run, "commit": each} for run, each in zip(first["runs"], commits, strict=True)]
    page = write_study({"runs": runs}, CARD, study, REPORTING)
    assert page.count("| `0123456` |") == page.count("| `0123456+dirty` |") == 2


class Remembering(tracking.Tracker):
    """The final numbers of a run, and of those below it; and its words."""

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}
        self.words: dict[str, str] = {"git_commit": "0123456789abcdef"}

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.words |= tags

    def tags(self) -> dict[str, str]:
        return self.words

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self.numbers |= metrics


def test_final_numbers_are_tracked_as_they_are_told(study_of: RunStudy) -> None:
    tracker = Remembering()
    tracking.activate(tracker)
    (run,) = study_of(seeds=[2], recipes={"plain": {}})["runs"]
    first, *_, last = run["observations"]
    names = ("seconds", "error_one_to_one", "error_majority", "information")
    entropy = np.log(3)  # of c1, the one categorical code
    assert tracker.numbers == {
        "error": round(last["error_one_to_one"], 4),
        "L_I_ratio": round(run["lower_bound"] / entropy, 4),
        **{f"eval/{name}": last[name] for name in names},
        **{f"eval/{name}_recalibrated": each for name, each in run["recalibrated"].items()},
        "eval/stability": run["stability"],
    }
    assert first["information"] != last["information"]


def test_a_run_is_described_by_its_result_and_by_what_its_recipe_adds(study_of: RunStudy) -> None:
    for name, added in (("plain", None), ("consistent", "training.consistency")):
        tracker = Remembering()
        tracking.activate(tracker)
        recipes = {name: STUDY["recipes"][name]}
        (run,) = study_of(seeds=[2], recipes=recipes)["runs"]
        note = tracker.words[tracking.NOTE]
        error = run["observations"][-1]["error_one_to_one"]
        assert f"error {error:.1%}**" in note
        assert f"| {run['lower_bound']:.3f}&emsp;" in note
        assert "at commit 0123456789" in note
        assert ("extended" in tracker.words) == (added is not None)
        assert added is None or added in note


def test_the_page_says_since_when_each_fault_has_lasted(first: dict[str, Any]) -> None:
    apart, merged = [[6, 0, 0], [0, 6, 0], [0, 0, 8]], [[6, 0, 0], [0, 6, 8], [0, 0, 0]]
    runs = json.loads(json.dumps(first["runs"]))
    for seen, table in zip(runs[0]["observations"], (merged, apart, merged), strict=True):
        seen["test_table"] = table
    for run in runs[1:]:
        run["observations"][-1]["test_table"] = apart
    page = write_study({"runs": runs}, CARD, Study.model_validate(STUDY), REPORTING)
    assert "| faults | matching kept since |" in page
    assert re.search(r"^\| plain \| 0 \|.*\| 1\+2 \(since 10\) \|", page, re.M)
    assert page.count("| none | ") >= 3


def test_the_page_says_nothing_of_parameters_that_runs_were_not_made_by(
    first: dict[str, Any],
) -> None:
    """They may have been made by others, and be put together."""
    today = Study.model_validate(
        {
            **STUDY,
            "common": {"training": {"precision": "bfloat16", "iterations": 4711}},
            "stability_images": 3,
            "mapping_images": 7,
            "generated_images": 5000,
        }
    )
    page = write_study(first, CARD, today, REPORTING)
    assert page == write_study(first, CARD, Study.model_validate(STUDY), REPORTING)


def test_runs_that_were_judged_on_different_numbers_of_images_are_told_so(
    first: dict[str, Any],
) -> None:
    runs = json.loads(json.dumps(first["runs"]))
    card = {**CARD, "splits": {**CARD["splits"], "test": {"images": 9000}}}
    for run, count in zip(runs, (500, 2000, 500, 500), strict=True):
        run["judged"]["stability_images"] = count
    study = Study.model_validate(STUDY)
    assert "share of 500 or 2,000 test images" in write_study(
        {"runs": runs}, card, study, REPORTING
    )
    runs[-1]["judged"]["stability_images"] = 10_000  # more than there are
    page = write_study({"runs": runs}, card, study, REPORTING)
    assert "share of 500 to 9,000 test images" in page


def test_a_study_of_a_part_says_so_first(first: dict[str, Any]) -> None:
    card = {**CARD, "partial": {"images": 10_000, "of": 99_289}}
    study = Study.model_validate(STUDY)
    page = write_study(first, card, study, REPORTING)
    assert page.startswith("**Partial: 10,000 of 99,289 images.**")
    assert page.endswith("\n" + write_study(first, CARD, study, REPORTING))
    assert "Partial" not in write_study(first, CARD, study, REPORTING)


def test_many_recipes_have_a_summary_of_what_was_chosen(first: dict[str, Any]) -> None:
    study = Study.model_validate(STUDY)

    def page(recipes: int) -> str:
        runs = [
            {**run, "recipe": f"{run['recipe']}_{place}", "stability": 0.1 * run["seed"]}
            for place in range(recipes // 2)
            for run in first["runs"]
        ]
        return write_study({"runs": runs}, CARD, study, REPORTING)

    assert "chose the best run" not in page(2)
    assert "- `plain_0`: no longer among the parameters\n" in page(2)
    told = page(4)
    assert "Over the 4 recipes of several runs" in told
    finals = {
        (run["recipe"], run["seed"]): run["observations"][-1]["error_one_to_one"]
        for run in first["runs"]
    }
    best = 2 * sum(finals[name, 1] <= finals[name, 0] for name in STUDY["recipes"])
    assert re.search(rf"^\| stability \| {best} \| ", told, re.M)
    assert re.search(r"^\| a random run \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", told, re.M)


def test_an_error_that_hangs_on_batch_norms_statistics_is_told(first: dict[str, Any]) -> None:
    study = Study.model_validate(STUDY)
    near, far, old, *_ = runs = [json.loads(json.dumps(run)) for run in first["runs"]]
    for run in runs:
        error = run["observations"][-1]["error_one_to_one"]
        run["recalibrated"]["error_one_to_one"] = error + (0.05 if run is far else 0.01)
    del old["recalibrated"]
    page = write_study({"runs": runs}, CARD, study, REPORTING)
    assert f"neither should be quoted: {far['recipe']}, seed {far['seed']}.**\n\n*Faults*" in page
    for run in (near, far, old):
        error = 100 * run["observations"][-1]["error_one_to_one"]
        again = "–" if run is old else f"{error + (5 if run is far else 1):.2f}"
        assert f"| {run['recipe']} | {run['seed']} | {error:.2f} | {again} |" in page


def test_the_second_error_is_that_of_networks_recalibrated_on_training_images(
    study_of: RunStudy, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated, observed = [], []
    recalibrate, observe = evaluation.recalibrated, study.observe

    def recalibrating(discriminator: Any, given: np.ndarray, *others: Any) -> Any:
        np.testing.assert_array_equal(given, images[:20])
        calibrated.append(recalibrate(discriminator, given, *others))
        return calibrated[-1]

    def observing(discriminator: Any, *others: Any) -> Any:
        observed.append((discriminator, observe(discriminator, *others)))
        return observed[-1][1]

    monkeypatch.setattr(evaluation, "recalibrated", recalibrating)
    monkeypatch.setattr(study, "observe", observing)
    (run,) = study_of(seeds=[4], recipes={"plain": {}})["runs"]
    assert [seen for each, seen in observed if each in calibrated] == [observed[-1][1]]
    assert run["recalibrated"].items() <= observed[-1][1].items()


def test_generated_images_are_judged_when_asked_for(
    study_of: RunStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = functools.partial(quality.train_classifier, iterations=3)
    monkeypatch.setattr(quality, "train_classifier", quick)
    runs = study_of(seeds=[0], recipes={"plain": {}}, generated_images=40)
    found = runs["runs"][0]["quality"]
    assert {"classifier_accuracy", "precision", "recall", "purity"} <= set(found)
    study = Study.model_validate({**STUDY, "generated_images": 40, "recipes": {"plain": {}}})
    page = write_study(runs, CARD, study, REPORTING)
    assert "not** the Inception FID" in page
    entropy = f"{found['class_entropy']:.2f}"
    assert re.search(rf"^\| plain \|.* {entropy} \|$", page, re.M)
    older = {name: each for name, each in found.items() if "kernel" not in name}
    runs["runs"][0]["quality"] = older
    assert re.search(
        r"^\| plain \| [\d.]+ \| – \|", write_study(runs, CARD, study, REPORTING), re.M
    )


def test_the_summary_is_of_the_last_observation() -> None:
    observations = [
        {
            "iteration": iteration,
            "error_one_to_one": error,
            "error_majority": error,
            "information": 1 - error,
        }
        for iteration, error in ((0, 0.9), (10, 0.1))
    ]
    others = {"lower_bound": 1.0, "stability": 0.5, "seconds": 3.0, "quality": {}}
    summary = nodes._summary([{"observations": observations, **others}] * 2)
    assert summary["majority"] == pytest.approx(10)
    assert summary["information"] == pytest.approx(0.9)
    assert summary["final"] == pytest.approx([10, 10])


def test_the_figure_draws_every_run(first: dict[str, Any]) -> None:
    runs = first
    (figure,) = draw_study(runs, REPORTING).values()
    lines = figure.axes[0].get_lines()
    assert len(lines) == 4 + 2  # runs, and a median each recipe


def test_a_run_can_be_kept_as_json(first: dict[str, Any]) -> None:
    runs = first
    assert json.loads(json.dumps(runs)) == runs
