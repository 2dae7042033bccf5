"""What a run found, in sentences and on a page that needs nothing but itself."""

import base64
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from infogan.errors import UserError
from infogan.options import Reporting
from infogan.report import caption, findings, matching, page, strongest, tells

METRICS = {
    "lower_bound.c1": 2.291,
    "entropy.c1": 2.3026,
    "baseline_lower_bound.c1": 0.0512,
    "lower_bound.c2": 0.333,
    "entropy.c2": 0.6931,
    "error_one_to_one": 0.051,
    "error_majority": 0.049,
    "error_one_to_one_recalibrated": 0.060,
    "error_baseline": 0.81,
    "error_untrained": 0.62,
    "error_kmeans": 0.47,
    "nmi": 0.9,
}
FIGURES = {"zebra": b"\x89PNG-z", "samples": b"\x89PNG-s", "information": b"\x89PNG-i"}
NASTY = """<script src="http://evil.example/x.js"></script> & "quoted" 'words'"""
REPORTING = {
    "title": "A <run>",
    "dpi": 100,
    "captions": {"information": "Figure 1 & more.", "samples": NASTY, "absent": "Not drawn."},
    "claims": [
        {"claim": "5 % error", "metrics": ["error_one_to_one", "nmi"], "measured": "by argmax"},
        {"claim": "more", "metrics": ["not_there"], "measured": "never"},
    ],
}

KNOWN: dict[str, Any] = {
    "factors": ["Bald", "Smiling", "Hat & <tie>", "Young"],
    "entropy": [0.1, 0.69, 0.2, 0.0],
    "categorical": {
        "codes": ["c1", "c2"],
        "values": [[0.011, 0.345, 0.02, 0.0], [0.05, 0.03, 0.001, 0.0]],
        "chance": [[0.002, 0.002, 0.018, 0.0], [0.03, 0.002, 0.002, 0.0]],
        "margin": [0.01, 0.02],
    },
    "continuous": {
        "codes": ["c3"],
        "values": [[0.1, 0.25, 0.9, 0.0]],
        "chance": [[0.08, 0.08, 0.8, 0.08]],
        "margin": [0.05],
    },
}


# --- Findings ------------------------------------------------------------------------------------


def test_each_codes_bound_stands_beside_its_entropy() -> None:
    sentences = findings(METRICS)
    expected = "c1: L_I = 2.291 nats on fresh codes, H(c1) = 2.303; regular GAN 0.051."
    assert sentences[0] == expected
    assert sentences[1] == "c2: L_I = 0.333 nats on fresh codes, H(c2) = 0.693."


def test_with_sigma_fixed_the_bound_is_compared_with_a_perfect_reading() -> None:
    numbers = {"lower_bound.c1": -0.2401, "entropy.c1": 0.6931, "perfect.c1": -0.2258}
    assert findings(numbers) == [
        "c1: L_I = -0.240 nats on fresh codes, where a perfect reading with sigma 1 gives -0.226."
    ]


def test_a_part_of_a_data_set_is_the_first_thing_that_is_said() -> None:
    sentences = findings({"partial.images": 5000.0, "partial.of": 202599.0, **METRICS})
    assert sentences[0] == (
        "Partial: 5,000 of 202,599 images. No number here is one of the whole data set."
    )
    assert not any("Partial" in sentence for sentence in findings(METRICS))


def test_an_error_without_references_names_no_floor() -> None:
    alone = {name: value for name, value in METRICS.items() if "error_" not in name}
    alone |= {name: METRICS[name] for name in ("error_one_to_one", "error_majority")}
    alone["error_one_to_one_recalibrated"] = 0.05
    (sentence,) = (s for s in findings(alone) if "classification error" in s)
    assert sentence == "Unsupervised classification error 5.1% one-to-one, 4.9% majority."


def test_agreement_with_the_classes_stands_beside_that_of_the_references() -> None:
    own = {"nmi": 0.936, "ari": 0.939, "classes_without_category": 0.0}
    kmeans = {"nmi_kmeans": 0.481, "ari_kmeans": 0.366, "classes_without_category_kmeans": 2.0}
    told = "NMI, ARI and classes without a category: 0.936, 0.939, 0"
    assert f"{told}; k-means on pixels 0.481, 0.366, 2." in findings({**METRICS, **own, **kmeans})
    assert f"{told}." in findings({**METRICS, **own})  # of an earlier version's evaluation


def test_categories_are_told_by_the_names_of_their_classes() -> None:
    told = matching({"code": "c1", "class_of_category": [1, -1], "class_names": ["ant", "bee"]})
    assert told == (
        "c1, category: class, matched on training labels: 0: bee; 1 of 2 without a class."
    )


def test_of_several_codes_each_has_its_error() -> None:
    several = METRICS | {"error_one_to_one.c1": 0.051, "error_one_to_one.c2": 0.8}
    assert "The error of each categorical code: c1 5.1%, c2 80.0%." in findings(several)


def test_known_factors_are_told_with_what_is_beyond_chance() -> None:
    known = {
        "correlation.azimuth": 0.934,
        "correlation.c1.azimuth": 0.934,
        "correlation_chance.azimuth": 0.081,
        "information.Smiling": 0.12,
        "information_chance.Smiling": 0.01,
        "information.Bald": 0.005,
        "information_chance.Bald": 0.01,
        "mig": 0.31,
        "beta_vae": 1.0,
    }
    sentences = findings(known)
    assert sentences == [
        "Largest |rank correlation| of a continuous code with (in brackets, what chance reaches): "
        "azimuth 0.93 (0.08).",
        "Most told by a categorical code of real images, in nats, beyond chance: Smiling 0.120.",
        "Disentanglement: MIG 0.31, beta-VAE 1.00.",
    ]


def test_generated_images_are_judged_beside_real_ones_and_by_no_other_name() -> None:
    numbers = {
        "generated.classifier_accuracy": 0.991,
        "generated.classifier_frechet_distance": 14.62,
        "generated.classifier_frechet_distance_of_real": 2.0,
        "generated.precision": 0.95,
        "generated.precision_of_real": 0.9,
        "generated.recall": 0.5,
        "generated.recall_of_real": 0.91,
        "generated.purity": 0.987,
    }
    assert findings(numbers) == [
        "Generated images in the features of a small classifier of this data set (99.1% right; "
        "not the Inception FID): Fréchet distance 14.6 (real images 2.0), precision 0.95 (real "
        "images 0.90), recall 0.50 (real images 0.91); purity of the categories 0.99."
    ]
    assert "purity" not in findings({n: v for n, v in numbers.items() if "purity" not in n})[0]
    fid = {
        "generated.frechet_inception_images": 5000,
        "generated.frechet_inception_distance": 23.44,
        "generated.frechet_inception_distance_of_real": 4.21,
    }
    sentence = "Fréchet inception distance (FID) of 5,000 generated images 23.4 (real images 4.2)."
    assert findings(fid) == [sentence]
    assert findings(numbers | fid) == [*findings(numbers), sentence]
    over_seeds = {
        f"{what}.generated.frechet_inception_distance": value
        for what, value in (("mean", 24), ("deviation", 1), ("best", 23.44), ("worst", 24.56))
    }
    told = findings(fid | over_seeds | {"seeds": 2})
    assert told[-1].startswith("Over 2 seeds: generated.frechet_inception_distance 24.000 ± 1.000")


def test_the_error_stands_beside_every_reference() -> None:
    (sentence,) = (s for s in findings(METRICS) if "classification error" in s)
    for words in (
        "error 5.1% one-to-one",
        "4.9% majority",
        "regular GAN's Q 81.0%",
        "untrained network 62.0%",
        "k-means on pixels 47.0%",
    ):
        assert words in sentence


@pytest.mark.parametrize(
    ("recalibrated", "warns"), [(0.072, True), (0.030, True), (0.070, False), (0.032, False)]
)
def test_more_than_two_points_between_batch_norms_are_a_warning(
    recalibrated: float, warns: bool
) -> None:
    sentences = findings({**METRICS, "error_one_to_one_recalibrated": recalibrated})
    warnings = [s for s in sentences if s.startswith("Careful")]
    assert bool(warnings) == warns
    if warns:
        assert f"{recalibrated:.1%}, more than 2 points apart" in warnings[0]


def test_so_are_they_of_the_regular_gans_q() -> None:
    alone = {**METRICS, "error_one_to_one_recalibrated": METRICS["error_one_to_one"]}
    told = findings({**alone, "error_baseline_recalibrated": METRICS["error_baseline"] - 0.03})
    careful = [sentence for sentence in told if sentence.startswith("Careful")]
    assert careful == [
        "Careful: with batch-norm statistics of real images the error of the regular GAN's Q is "
        "78.0%, more than 2 points apart."
    ]
    near = {**alone, "error_baseline_recalibrated": METRICS["error_baseline"] + 0.01}
    assert not any(sentence.startswith("Careful") for sentence in findings(near))


def test_without_labels_there_is_no_word_of_errors() -> None:
    unlabelled = {name: value for name, value in METRICS.items() if not name.startswith("error")}
    sentences = findings(unlabelled)
    assert len(sentences) == 2
    assert not any("error" in sentence for sentence in sentences)


# --- The page ------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def text() -> str:
    facts = {"seed": 0, "data": "https://example.org/mnist"}
    reporting = Reporting.model_validate(REPORTING)
    parameters: dict[str, Any] = {"training.lr_d": 2e-4, "model.trunk": "<conv>"}
    return page(reporting, reporting.title, METRICS, KNOWN, FIGURES, facts, parameters)


@pytest.fixture
def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_the_page_asks_no_address_for_anything(text: str, read: Reader) -> None:
    for _, attributes in read.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"url\(|@import", text)
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "link", "iframe", "object"})


def test_every_figure_is_in_the_page_in_the_order_of_the_captions(read: Reader) -> None:
    prefix = "data:image/png;base64,"
    sources = [image["src"] or "" for image in read.all("img")]
    assert all(source.startswith(prefix) for source in sources)
    contents = [base64.b64decode(source.removeprefix(prefix)) for source in sources]
    # Those without a caption come last.
    assert contents == [FIGURES["information"], FIGURES["samples"], FIGURES["zebra"]]


def test_every_figure_says_in_words_what_it_shows(read: Reader) -> None:
    alternatives = [image["alt"] for image in read.all("img")]
    assert alternatives == ["Figure 1 & more.", NASTY, "Zebra."]
    for alternative in alternatives:
        assert alternative is not None
        assert alternative in read.text


def test_words_are_text_and_never_markup(text: str, read: Reader) -> None:
    assert "<script" not in text
    assert "<run>" not in text
    assert "<conv>" not in text
    for words in ("A <run>", "<conv>", NASTY):
        assert words in read.text


def test_the_page_holds_findings_claims_facts_numbers_and_parameters(read: Reader) -> None:
    for sentence in findings(METRICS):
        assert sentence in read.text
    for words in (
        "5 % error",
        "error_one_to_one = 5.10%",
        "nmi = 0.9",
        "not_there: not measured",
        "by argmax",
        "https://example.org/mnist",
        "training.lr_d",
        "0.0002",
        *METRICS,
    ):
        assert words in read.text


def test_each_codes_strongest_factors_are_those_farthest_beyond_chance() -> None:
    found = strongest(KNOWN)
    assert found["categorical"] == [
        ("c1", "Smiling", "0.345", "50.0%", "0.002"),
        ("c1", "Bald", "0.011", "11.0%", "0.002"),
        ("c1", "Hat & <tie>", "0.020", "10.0%", "0.018"),
        ("c2", "Smiling", "0.030", "4.3%", "0.002"),
        ("c2", "Bald", "0.050", "50.0%", "0.030"),
        ("c2", "Young", "0.000", "0.0%", "0.000"),
    ]
    assert found["continuous"] == [
        ("c3", "Smiling", "0.25", "0.08"),
        ("c3", "Hat & <tie>", "0.90", "0.80"),
        ("c3", "Bald", "0.10", "0.08"),
    ]


def test_each_code_tells_of_one_factor_if_of_any() -> None:
    assert tells(KNOWN) == {
        "c1": "Smiling, 50.0% of it",
        "c2": "Smiling, 4.3% of it",
        "c3": "Smiling, rank correlation 0.25",
    }


def test_what_an_earlier_version_evaluated_is_to_be_evaluated_again() -> None:
    older = {**KNOWN, "continuous": {"codes": ["c3"], "values": KNOWN["continuous"]["values"]}}
    for use in (strongest, tells):
        with pytest.raises(UserError, match="evaluate the model again"):
            use(older)
    assert findings({"correlation.azimuth": 0.9}) == []


@pytest.mark.parametrize(
    ("kind", "codes", "others"), [("categorical", 2, ["c3"]), ("continuous", 1, ["c1", "c2"])]
)
def test_the_best_of_many_factors_is_not_told_where_chance_has_a_best_one_too(
    kind: str, codes: int, others: list[str]
) -> None:
    blind = {**KNOWN, kind: {**KNOWN[kind], "margin": [0.5] * codes}}
    assert list(tells(blind)) == others


def test_the_page_has_a_table_of_known_factors_where_there_are_any(read: Reader) -> None:
    assert "What each code tells of known factors" in read.text
    rows = strongest(KNOWN)
    for cell in {cell for row in rows["categorical"] + rows["continuous"] for cell in row}:
        assert cell in read.text
    reporting = Reporting.model_validate(REPORTING)
    without = page(reporting, reporting.title, METRICS, {}, FIGURES, {}, {})
    assert "known factors" not in without
    assert "rank correlation" not in without


def test_where_the_paper_claims_nothing_there_is_no_table_of_claims(text: str) -> None:
    assert "The paper's claims and ours" in text
    reporting = Reporting.model_validate(REPORTING | {"claims": []})
    without = page(reporting, reporting.title, METRICS, KNOWN, FIGURES, {}, {})
    assert "claims and ours" not in without
    assert '<table class="claims">' not in without


def test_the_same_run_makes_the_same_page(text: str) -> None:
    facts = {"seed": 0, "data": "https://example.org/mnist"}
    parameters: dict[str, Any] = {"training.lr_d": 2e-4, "model.trunk": "<conv>"}
    reporting = Reporting.model_validate(REPORTING)
    assert page(reporting, reporting.title, METRICS, KNOWN, FIGURES, facts, parameters) == text


def test_a_figure_without_a_caption_is_named() -> None:
    assert caption({}, "traversal_c1") == "Traversal c1."
    assert caption({"traversal_c1": "Digits."}, "traversal_c1") == "Digits."


def test_what_is_not_in_the_paper_stands_above_the_findings() -> None:
    reporting = Reporting.model_validate(REPORTING)
    given = reporting, reporting.title, METRICS, KNOWN, FIGURES, {}, {}
    text = page(*given, extended="Not the paper's alone.")
    assert 0 < text.index("Not the paper&#39;s alone.") < text.index("Findings")
    assert page(*given) == text.replace('<p class="lead">Not the paper&#39;s alone.</p>\n', "")
