"""What the explorer's server answers, and what it refuses."""

import base64
import io
import json
import re
import shutil
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from mlflow import MlflowClient
from PIL import Image
from werkzeug.test import TestResponse

from infogan.comparison import Registered, registered
from infogan.errors import UserError
from infogan.explorer import app as explorer
from infogan.explorer.app import Shelf, create_app
from infogan.trained import Trained

PAGE = Path(explorer.__file__).parent / "page"
MATCHED = {
    "code": "c1",
    "class_of_category": [5, -1, 2],
    "tells": {"c1": "Smiling, 50.0% of it"},
}
TOY = Registered("infogan-toy", 3, ("latest", "best"), "toy base seed 0")
OLD = Registered("infogan-toy", 2, (), "")
AT = "/api/models/infogan-toy/3"


@pytest.fixture
def trained(saved_model: Path) -> Trained:
    return Trained.load(saved_model, MATCHED)


@pytest.fixture
def client(trained: Trained) -> FlaskClient:
    return create_app(Shelf(lambda: [TOY, OLD], lambda _: trained)).test_client()


def refused(answer: TestResponse, status: int = 400) -> str:
    """The one sentence of the answer."""
    assert answer.status_code == status
    assert answer.json is not None
    assert list(answer.json) == ["message"]
    message: str = answer.json["message"]
    assert message.endswith(".")
    assert "\n" not in message
    return message


def png(image: np.ndarray) -> bytes:
    """A uint8 image (H, W) or (H, W, 3) as a file."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def some_image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)


# --- Which models there are ----------------------------------------------------------------------


def test_the_models_are_listed_as_the_registry_has_them(client: FlaskClient) -> None:
    assert client.get("/api/models").json == [
        {
            "name": "infogan-toy",
            "version": 3,
            "words": ["latest", "best"],
            "run": "toy base seed 0",
        },
        {"name": "infogan-toy", "version": 2, "words": [], "run": ""},
    ]


def test_a_model_is_loaded_when_it_is_first_asked_for_and_once(trained: Trained) -> None:
    loaded: list[str] = []

    def load(uri: str) -> Trained:
        loaded.append(uri)
        return trained

    client = create_app(Shelf(lambda: [TOY, OLD], load)).test_client()
    client.get("/", buffered=True)
    client.get("/api/models")
    assert loaded == []
    for _ in range(2):
        assert client.get(AT).status_code == 200
        assert client.post(f"{AT}/images", json={"rows": [{}]}).status_code == 200
    client.get("/api/models/infogan-toy/2")
    assert loaded == ["models:/infogan-toy/3", "models:/infogan-toy/2"]


def test_only_models_of_the_registry_are_loaded(client: FlaskClient) -> None:
    for path in ("infogan-toy/4", "infogan-other/3", "infogan-toy%20/3"):
        message = refused(client.get(f"/api/models/{path}"))
        assert "is not in the registry: it has models:/infogan-toy/3, models:/infogan-toy/2." in (
            message
        )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (UserError("MLflow at sqlite: gone."), "MLflow at sqlite: gone."),
        (FileNotFoundError(2, "No such file"), "models:/infogan-toy/3 cannot be read (No such"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_a_sentence_and_is_tried_again(
    trained: Trained, error: Exception, words: str
) -> None:
    outcomes: list[Any] = [error, trained]

    def load(_: str) -> Trained:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    client = create_app(Shelf(lambda: [TOY], load)).test_client()
    assert words in refused(client.get(AT))
    assert client.get(AT).status_code == 200


def test_the_registry_tells_versions_aliases_and_runs(tmp_path: Path, empty_mlflow: Path) -> None:
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert registered(uri) == []
    client = MlflowClient(uri)
    experiment = client.create_experiment("toy", (tmp_path / "artifacts").as_uri())
    for name in ("infogan-toy", "another", "infogan-new"):
        client.create_registered_model(name)
    for name in ("infogan-toy", "infogan-toy", "another", "infogan-new"):
        run = client.create_run(experiment, run_name=f"run of {name}")
        client.create_model_version(name, "file:///nowhere", run_id=run.info.run_id)
    client.set_registered_model_alias("infogan-toy", "best", "1")
    assert sorted(registered(uri), key=lambda each: (each.name, each.version)) == [
        Registered("infogan-new", 1, ("latest",), "run of infogan-new"),
        Registered("infogan-toy", 1, ("best",), "run of infogan-toy"),
        Registered("infogan-toy", 2, ("latest",), "run of infogan-toy"),
    ]
    client._tracking_client.store._dispose_engine()


# --- What a model can do -------------------------------------------------------------------------


def test_each_code_has_a_slider_twice_as_wide_as_trained_or_its_categories(
    client: FlaskClient,
) -> None:
    described = client.get(AT).json
    assert described is not None
    assert described["shape"] == [1, 8, 8]
    codes = {code["name"]: code for code in described["codes"]}
    assert list(codes) == ["c1", "c2", "c3_0", "c3_1"]
    assert codes["c1"]["categories"] == 3
    assert codes["c1"]["classes"] == [5, None, 2]
    assert codes["c1"]["tells"] == "Smiling, 50.0% of it"
    assert codes["c2"]["tells"] == ""
    assert codes["c1"]["strip"] == [0, 1, 2]
    assert {name: codes["c2"][name] for name in ("low", "high", "least", "most", "start")} == {
        "low": -1,
        "high": 1,
        "least": -2,
        "most": 2,
        "start": 0,
    }
    assert codes["c2"]["strip"] == [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2]
    assert (codes["c3_1"]["least"], codes["c3_1"]["most"], codes["c3_1"]["start"]) == (-2, 6, 2)


def test_classes_that_have_names_are_told_by_them(saved_model: Path) -> None:
    names = {"class_names": ["a", "b", "cat", "d", "e", "fox"]}
    trained = Trained.load(saved_model, {**MATCHED, **names})
    client = create_app(Shelf(lambda: [TOY], lambda _: trained)).test_client()
    described = client.get(AT).json
    assert described is not None
    assert described["codes"][0]["classes"] == ["fox", None, "cat"]


def test_categories_without_a_match_have_no_classes(saved_model: Path) -> None:
    trained = Trained.load(saved_model)
    client = create_app(Shelf(lambda: [TOY], lambda _: trained)).test_client()
    described = client.get(AT).json
    assert described is not None
    assert described["codes"][0]["classes"] is None


def test_images_are_those_of_the_command_line(client: FlaskClient, trained: Trained) -> None:
    rows = [{"c1": 2, "c2": 0.5}, {"digit": 5}, {}]
    answer = client.post(f"{AT}/images", json={"rows": rows, "seed": 7})
    assert answer.status_code == 200
    assert answer.mimetype == "application/octet-stream"
    made = np.frombuffer(answer.data, np.uint8).reshape(3, 1, 8, 8)
    assert np.array_equal(made, trained.generate(rows, 1, 7))


# --- A person's image ----------------------------------------------------------------------------


def test_an_image_is_read_as_encode_reads_it(client: FlaskClient, trained: Trained) -> None:
    image = some_image()
    reading = client.post(f"{AT}/read", data=png(image)).json
    assert reading is not None
    columns = trained.encode(trained.as_pixels(image[None]))
    one, two, three, four = reading["codes"]
    assert one["value"] == columns["c1"][0]
    assert one["probabilities"] == pytest.approx([columns[f"c1_p{k}"][0] for k in range(3)])
    for read in (two, three, four):
        assert read["mean"] == pytest.approx(columns[read["name"]][0])
        assert read["deviation"] == pytest.approx(columns[f"{read['name']}_sd"][0])
    assert reading["changed"] is None
    assert base64.b64decode(reading["image"]) == image.tobytes()


def test_the_nearest_generations_are_those_of_a_search_by_brute_force(
    client: FlaskClient, trained: Trained
) -> None:
    image = some_image()
    reading = client.post(f"{AT}/read", data=png(image)).json
    assert reading is not None
    distances = {}
    for seed in range(explorer._DRAWS):
        made = trained.generate([reading["row"]], 1, seed)[0, 0]
        distances[seed] = np.sqrt(np.mean((made / 255.0 - image / 255.0) ** 2))
    expected = sorted(distances, key=distances.__getitem__)[:5]
    assert [each["seed"] for each in reading["nearest"]] == expected
    for each in reading["nearest"]:
        assert each["distance"] == pytest.approx(distances[each["seed"]], rel=1e-5)
        made = trained.generate([reading["row"]], 1, each["seed"])
        assert base64.b64decode(each["image"]) == made.tobytes()


def test_the_codes_of_the_nearest_generations_are_places_of_the_controls(
    client: FlaskClient, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the page can show such a generation; what is read beyond a slider stands at its end."""
    columns = trained.encode(trained.as_pixels(some_image()[None]))
    read = {"c2": 0.4321, "c3_0": 77.0, "c3_1": -77.0}
    monkeypatch.setattr(
        trained, "encode", lambda _: columns | {name: np.array([v]) for name, v in read.items()}
    )
    reading = client.post(f"{AT}/read", data=png(some_image())).json
    assert reading is not None
    assert reading["row"] == {"c1": columns["c1"][0], "c2": 0.45, "c3_0": 6, "c3_1": -2}
    assert [code["mean"] for code in reading["codes"][1:]] == list(read.values())


def test_an_image_of_another_size_and_colour_is_made_to_fit_and_that_is_told(
    client: FlaskClient,
) -> None:
    colour = np.full((30, 20, 3), 200, np.uint8)
    reading = client.post(f"{AT}/read", data=png(colour)).json
    assert reading is not None
    assert reading["changed"] == "is 3x30x20 and was made 1x8x8"
    assert base64.b64decode(reading["image"]) == bytes([200] * 64)


def bomb() -> bytes:
    """A PNG file of few bytes that announces 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "this file is empty."),
        (b"hello", "this file is no image (PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n", "this file is cut short or damaged."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this file is no image"),
        (bomb(), "this file has more than 64,000,000 pixels."),
    ],
)
def test_a_bad_image_is_a_sentence_and_the_next_one_is_read(
    client: FlaskClient, content: bytes, words: str
) -> None:
    assert words in refused(client.post(f"{AT}/read", data=content))
    assert client.post(f"{AT}/read", data=png(some_image())).status_code == 200


def test_too_large_a_file_is_refused_unread(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "FILE_LIMIT", 200_000)
    largest = png(some_image()).ljust(200_000, b"\0")
    assert client.post(f"{AT}/read", data=largest).status_code == 200
    answer = client.post(f"{AT}/read", data=largest + b"\0")
    assert refused(answer) == "more than 200,000 bytes were sent."


# --- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"rows": [{"c9": 1}]}, "'c9' is not a code of this model: it has c1 (0 to 2), c2"),
        ({"rows": [{"c1": 3}]}, "c1 is 3, but its categories are 0 to 2."),
        ({"rows": [{"c1": None}]}, "c1 is None, but must be a number."),
        ({"rows": [{"c2": [1]}]}, "c2 is [1], but must be a number."),
        ({"rows": [{"c2": "x" * 90_000}]}, "c2 is 'xxx"),
        ({"rows": [{"digit": 5, "c1": 0}]}, "digit and c1 both set c1: give one."),
        ({"rows": [{}], "seed": -1}, "seed is -1, but it must not be negative."),
        ({"rows": [{}], "seed": 0.5}, "seed is 0.5, but must be a whole number."),
        ({"rows": [{}], "seed": True}, "seed is True, but must be a whole number."),
        ({"rows": []}, "0 images are asked for, but it must be 1 to 100."),
        ({"rows": [{}] * 101}, "101 images are asked for"),
        ({"rows": [3]}, 'send {"rows": [{"c1": 3'),
        ({"rows": {}}, 'send {"rows"'),
        ([], 'send {"rows"'),
        (b'{"rows": [{"c2": NaN}]}', "c2 is nan, but must be a number."),
        (b"no json", 'send {"rows"'),
        (b"\xff\xfe", 'send {"rows"'),
        (b"[" * 90_000, 'send {"rows"'),
        (b" " * 100_001, "more than 100,000 bytes were sent."),
    ],
)
def test_a_bad_wish_is_a_sentence_and_the_next_one_is_granted(
    client: FlaskClient, body: Any, words: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = refused_or_shortened(client.post(f"{AT}/images", data=content))
    assert words in message
    assert len(message) <= 500
    assert client.post(f"{AT}/images", json={"rows": [{}]}).status_code == 200


def refused_or_shortened(answer: TestResponse) -> str:
    if answer.json is not None and answer.json["message"].endswith("…"):
        return str(answer.json["message"])
    return refused(answer)


def test_what_is_not_there_is_a_sentence(client: FlaskClient) -> None:
    assert refused(client.get("/etc/passwd"), 404) == "there is nothing at /etc/passwd."
    assert "there is nothing at" in refused(client.get("/page/../app.py"), 404)
    assert "method is not allowed" in refused(client.get(f"{AT}/images"), 405)


def test_an_error_of_our_own_is_told_and_logged_and_the_server_lives_on(
    client: FlaskClient,
    trained: Trained,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(trained, "generate", fail)
        answer = client.post(f"{AT}/images", json={"rows": [{}]})
    assert "the explorer failed" in refused(answer, 500)
    assert "ZeroDivisionError" in caplog.text
    assert client.post(f"{AT}/images", json={"rows": [{}]}).status_code == 200


PATHS = ["/", "/page/explorer.js", "/api/models", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.1:5002"])
def test_a_name_that_was_bent_to_this_machine_is_answered_nothing(
    client: FlaskClient, path: str, host: str
) -> None:
    message = refused(client.get(path, headers={"Host": host}))
    assert message == "the explorer is to be found at 127.0.0.1 only."


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:5002", "localhost:8080"])
def test_this_machine_by_name_or_number_is_answered(client: FlaskClient, host: str) -> None:
    for origin in ({}, {"Origin": f"http://{host}"}):
        assert client.get("/api/models", headers={"Host": host, **origin}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:5000"])
def test_another_page_of_the_same_browser_is_answered_nothing(
    client: FlaskClient, origin: str
) -> None:
    headers = {"Host": "127.0.0.1:5002", "Origin": origin}
    answer = client.post(f"{AT}/images", data='{"rows": [{}]}', headers=headers)
    assert "only the explorer's own page is answered." in refused(answer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_every_answer_allows_the_page_itself_only(
    client: FlaskClient, path: str, host: str
) -> None:
    headers = client.get(path, headers={"Host": host}, buffered=True).headers
    policy = dict(
        rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";")
    )
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"


# --- The page ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page refers to, its ids, and what its labels are for."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [str(given[name]) for name in ("src", "href") if name in given]
        self.ids += [str(given["id"])] if "id" in given else []
        self.attributes += given


@pytest.fixture
def page(client: FlaskClient) -> Page:
    read = Page()
    read.feed(client.get("/", buffered=True).text)
    return read


def test_the_page_is_complete_and_its_files_are_served(client: FlaskClient, page: Page) -> None:
    assert page.addresses
    for address in page.addresses:
        assert address.startswith("/page/")
    answers = {
        address.rpartition(".")[2]: client.get(address, buffered=True)
        for address in page.addresses
    }
    assert {answer.status_code for answer in answers.values()} == {200}
    kinds = {suffix: answer.mimetype for suffix, answer in answers.items()}
    assert kinds["css"] == "text/css"
    assert kinds["js"] in ("text/javascript", "application/javascript")
    assert kinds["svg"] == "image/svg+xml"


def test_no_file_of_the_page_names_an_outside_address() -> None:
    for path in PAGE.iterdir():
        found = re.findall(r"(?:https?:)?//[\w.]+\.\w+\S*", path.read_text())
        assert set(found) <= {'http://www.w3.org/2000/svg"'}, path.name


def test_the_page_holds_nothing_that_its_policy_forbids(page: Page) -> None:
    assert not [name for name in page.attributes if name == "style" or name.startswith("on")]


def test_the_script_uses_ids_that_exist_once(page: Page) -> None:
    used = set(re.findall(r'\$\("([\w-]+)"\)', (PAGE / "explorer.js").read_text()))
    assert used <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
