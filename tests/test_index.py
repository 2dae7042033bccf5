"""The page of all data sets: what each run found, and in what it is not the experiment itself."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from infogan import report
from infogan.index import Entry, belongs, departures, page, reported, without_numbers
from infogan.options import Reporting

METRICS = {
    "lower_bound.c1": 2.291,
    "entropy.c1": 2.3026,
    "lower_bound.c2": 0.333,
    "entropy.c2": 0.6931,
    "error_one_to_one": 0.051,
    "error_majority": 0.049,
    "error_one_to_one_recalibrated": 0.060,
    "nmi": 0.9,
}
NASTY = """<script src="http://evil.example/x.js"></script> & "quoted" 'words'"""
BLOCK = Reporting.model_validate(
    {
        "title": "A <run>",
        "dpi": 100,
        "captions": {"information": "Figure 1.", "traversal_c1": "Digits.", "samples": NASTY},
        "claims": [
            {
                "claim": "5 % error",
                "metrics": ["error_one_to_one", "nmi"],
                "measured": "by argmax",
            },
            {"claim": "more", "metrics": ["not_there"], "measured": "never"},
        ],
    }
)
RECORD: dict[str, Any] = {
    "started": "2026-01-02T03:04:05+00:00",
    "iterations": 5000,
    "commit": "0123abc",
    "mlflow_run_id": "run-of-the-day",
    "alarms": {"unused": "category 3 of c1 is not used"},
}
CARD: dict[str, Any] = {
    "splits": {"train": {"images": 60000}, "test": {"images": 10000}},
    "source": {},
}
PARTIAL = CARD | {"partial": {"images": 5000, "of": 202599}}
HEADLINE = "L_I is 99.5% of H(c), error 5.1%"


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def entry(dataset: str = "mnist", **changed: Any) -> Entry:
    given: dict[str, Any] = {
        "reporting": BLOCK,
        "metrics": METRICS,
        "record": RECORD,
        "card": CARD,
        "settings": {},
        "figures": ["zebra", "information", "samples"],
        "headline": HEADLINE,
        "iterations": 5000,
    }
    return reported(dataset, **given | changed)


def read(*entries: Entry, environment: str = "base") -> Reader:
    return Reader(page(entries, environment))


def marks(text: str) -> list[str]:
    return re.findall(r'<span class="mark">(.*?)</span>', text)


# --- In what a run is not the experiment ---------------------------------------------------------


def test_the_experiment_itself_has_no_mark() -> None:
    assert not entry().caveats
    assert not marks(page([entry()], "base"))
    assert "Environment" not in read(entry()).text


@pytest.mark.parametrize(
    ("changed", "mark", "sentence"),
    [
        (
            {"card": PARTIAL},
            "partial data",
            "5,000 of 202,599 images. No number here is one of the whole data set.",
        ),
        (
            {"record": RECORD | {"iterations": 936}},
            "short run",
            "936 of the 5,000 iterations of the experiment.",
        ),
        (
            {"settings": {"model.noise": "", "training.lr_g": "0.01 (there 0.001)"}},
            "other settings",
            "Not as in conf/base: model.noise, training.lr_g 0.01 (there 0.001).",
        ),
    ],
)
def test_what_is_not_the_experiment_says_so_beside_each_of_its_numbers(
    changed: dict[str, Any], mark: str, sentence: str
) -> None:
    other = entry("other", **changed)
    assert dict(other.caveats) == {mark: sentence}
    assert sentence in read(other).text
    # Once over its findings, once over its rows of the table; over no other data set's.
    assert marks(page([entry(), other], "base")) == [mark, mark]


def test_a_longer_run_has_other_settings_and_is_not_called_short() -> None:
    settings = {"training.iterations": "9,000 (there 5,000)"}
    longer = entry(record=RECORD | {"iterations": 9000}, settings=settings)
    assert dict(longer.caveats) == {
        "other settings": "Not as in conf/base: training.iterations 9,000 (there 5,000)."
    }


def test_an_environment_is_named() -> None:
    text = read(entry(), environment="quick").text
    assert "Environment quick." in text
    assert "conf/quick" in text


def test_departures_are_what_can_change_a_result() -> None:
    base = {
        "training": {"iterations": 5000, "lr_g": 1e-3, "device": "auto", "seeds": [0]},
        "model": {"noise": "uniform 62", "trunk": ["conv 64"]},
    }
    own = {
        "training": {"iterations": 30, "lr_g": 1e-3, "device": "cpu", "seeds": [1]},
        "model": {"noise": "uniform 8", "trunk": ["conv 64"]},
    }
    assert departures(base, base) == {}
    assert departures(own, base) == {
        "training.iterations": "30 (there 5,000)",
        "model.noise": "",
    }
    assert departures({"training": {"new": True}}, base) == {"training.new": ""}


# --- What was found ------------------------------------------------------------------------------


def test_the_few_numbers_come_first_and_stand_for_those_of_each_code() -> None:
    sentences = entry().findings
    assert sentences[0] == f"{HEADLINE}."
    assert not any("L_I = " in each for each in sentences)
    assert "Alarm: category 3 of c1 is not used" in sentences


def test_where_there_is_no_sum_of_the_codes_each_is_told() -> None:
    sentences = entry(headline="").findings
    assert [each.partition(":")[0] for each in sentences[:2]] == ["c1", "c2"]


def test_each_claim_stands_beside_the_numbers_of_the_report() -> None:
    text = read(entry()).text
    for words in ("5 % error", "error_one_to_one = 5.10%", "nmi = 0.9", "by argmax"):
        assert words in text
    assert "not_there: not measured" in text


def test_run_commit_date_and_images_are_named() -> None:
    text = read(entry()).text
    for words in ("run-of-the-day", "0123abc", "2026-01-02T03:04:05", "train 60,000; test 10,000"):
        assert words in text
    untracked = read(entry(record=RECORD | {"mlflow_run_id": None})).text
    assert "not tracked" in untracked


def test_the_figure_is_the_first_traversal_or_else_the_first_of_all() -> None:
    assert entry().figure == "mnist/figures/information.png"
    with_traversals = entry(figures=["traversal_c2", "information", "traversal_c1"])
    assert with_traversals.figure == "mnist/figures/traversal_c1.png"
    assert entry(figures=[]).figure == ""
    assert not read(entry(figures=[])).all("img")


def test_what_has_no_numbers_says_why_and_leaves_its_claims_open() -> None:
    reader = read(without_numbers("celeba", BLOCK, "no report yet."), entry())
    assert "A <run>: no report yet." in reader.text
    assert reader.text.count("not measured here") == len(BLOCK.claims)
    assert reader.text.count("error_one_to_one = 5.10%") == 1
    assert not any("celeba/" in (link["href"] or "") for link in reader.all("a"))


# --- The page ------------------------------------------------------------------------------------


def test_the_page_links_to_what_lies_beside_it_and_to_nothing_else() -> None:
    reader = read(entry("mnist"), entry("my faces"), without_numbers("svhn", BLOCK, "none"))
    links = {link["href"] for link in reader.all("a")}
    pages = {"mnist/report.html", "my%20faces/report.html"}
    assert links == pages | {"#mnist", "#my%20faces", "#svhn"}
    sources = {image["src"] for image in reader.all("img")}
    assert sources == {f"{each}/figures/information.png" for each in ("mnist", "my%20faces")}
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert not re.search(r"url\(|@import", page([entry()], "base"))


def test_every_picture_says_in_words_what_it_shows() -> None:
    (image,) = read(entry(figures=["samples"])).all("img")
    assert image["alt"] == NASTY


def test_words_are_text_and_never_markup() -> None:
    nasty = BLOCK.model_copy(update={"title": NASTY})
    both = [entry(reporting=nasty), without_numbers("b", nasty, NASTY)]
    assert "<script" not in page(both, NASTY)
    assert read(*both, environment=NASTY).text.count(NASTY) >= 5


# --- Reports older than the numbers --------------------------------------------------------------


def test_a_report_belongs_to_the_numbers_it_holds() -> None:
    facts = {"trained from": RECORD["started"]}
    text = report.page(BLOCK, BLOCK.title, METRICS, {}, {}, facts, {})
    assert belongs(text, METRICS, RECORD)
    assert not belongs(text, METRICS | {"nmi": 0.90001}, RECORD)
    assert not belongs(text, METRICS, RECORD | {"started": "2026-01-02T03:04:06+00:00"})
    assert not belongs("", METRICS, RECORD)


def test_what_is_not_in_the_paper_stands_beside_the_numbers() -> None:
    sentence = "Not the paper's game alone, but with training.clustering."
    reader = read(entry(extended=sentence))
    assert sentence in reader.text
    assert {"class": "mark"} in reader.all("span")
    assert sentence not in read(entry()).text
