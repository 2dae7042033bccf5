"""The explorer's server: the page, and what it asks for.

It listens on 127.0.0.1, which keeps other machines away, and answers the page's own requests
only, which keeps other pages of the same browser away. What is wrong with a request is told in a
sentence, with status 400, and the server lives on.
"""

import base64
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge, SecurityError
from werkzeug.serving import make_server

from infogan.comparison import Registered
from infogan.errors import Rejected, UserError
from infogan.trained import FILE_LIMIT, Knob, Trained, Values

HOST = "127.0.0.1"

_HOSTS = [HOST, "localhost"]  # other names lead here only by a trick ("DNS rebinding")
_BODY_LIMIT = 100_000  # bytes of codes
_MOST_ROWS = 100
_LONGEST = 500  # characters of what is said about an error
_STEPS = 8  # of the strip of a continuous code
_NOTCHES = 80  # of its slider
_DRAWS = 256  # of the noise, when the nearest generation of an image is sought
_NEAREST = 5
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Shelf:
    """The models of the registry, each loaded when it is first asked for, once."""

    def __init__(
        self, models: Callable[[], Sequence[Registered]], load: Callable[[str], Trained]
    ) -> None:
        self.models = models
        self._load = load
        self._loaded: dict[str, Trained] = {}
        self.lock = threading.Lock()

    def get(self, name: str, version: int) -> Trained:
        """UserError if the registry does not have it; to be called with the lock."""
        uri = f"models:/{name}/{version}"
        if uri not in self._loaded:
            known = [each.uri for each in self.models()]
            if uri not in known:
                raise UserError(f"{uri} is not in the registry: it has {_listed(known)}.")
            try:
                self._loaded[uri] = self._load(uri)
            except OSError as error:
                raise UserError(f"{uri} cannot be read ({error.strerror or error}).") from None
        return self._loaded[uri]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "no model yet"


def create_app(shelf: Shelf) -> Flask:
    """The page below ``/``, and below ``/api`` what it asks for."""
    app = Flask(__name__, static_folder="page", static_url_path="/page")
    app.config["TRUSTED_HOSTS"] = _HOSTS
    app.config["MAX_CONTENT_LENGTH"] = _BODY_LIMIT
    app.before_request(_refuse_other_pages)
    app.after_request(_add_headers)
    app.register_error_handler(Exception, _explain)

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/api/models")
    def models() -> Response:
        return jsonify(
            [
                {"name": m.name, "version": m.version, "words": m.words, "run": m.run}
                for m in shelf.models()
            ]
        )

    @app.get("/api/models/<name>/<int:version>")
    def describe(name: str, version: int) -> Response:
        with shelf.lock:
            return jsonify(_description(shelf.get(name, version)))

    @app.post("/api/models/<name>/<int:version>/images")
    def images(name: str, version: int) -> Response:
        rows, seed = _wish(request.get_data())
        with shelf.lock:
            made = shelf.get(name, version).generate(rows, 1, seed)
        return Response(made.tobytes(), mimetype="application/octet-stream")

    @app.post("/api/models/<name>/<int:version>/read")
    def read(name: str, version: int) -> Response:
        request.max_content_length = FILE_LIMIT
        content = request.get_data()
        with shelf.lock:
            return jsonify(_reading(shelf.get(name, version), content))

    return app


def _description(trained: Trained) -> dict[str, Any]:
    """What the page needs to draw its controls."""
    return {
        "shape": trained.shape,
        "draws": _DRAWS,
        "file_limit": FILE_LIMIT,
        "codes": [_control(trained, knob) for knob in trained.knobs.values()],
    }


def _control(trained: Trained, knob: Knob) -> dict[str, Any]:
    """A code: what it tells of, the values of its strip, and its classes, or its slider."""
    tells = trained.matched.get("tells", {}).get(knob.name, "")
    if knob.categories:
        matched = trained.matched.get("code") == knob.name
        class_of = {category: each for each, category in trained.classes.items()}
        return {
            "name": knob.name,
            "tells": tells,
            "categories": knob.categories,
            "start": 0,
            "classes": [class_of.get(k) for k in range(knob.categories)] if matched else None,
            "strip": list(range(knob.categories)),
        }
    least, most, step = _slider(knob)
    return {
        "name": knob.name,
        "tells": tells,
        "categories": 0,
        "low": knob.low,
        "high": knob.high,
        "least": least,
        "most": most,
        "step": step,
        "start": _rounded((knob.low + knob.high) / 2),
        "strip": [_rounded(least + (most - least) * k / _STEPS) for k in range(_STEPS + 1)],
    }


def _slider(knob: Knob) -> tuple[float, float, float]:
    """Least, most and step: twice the trained range, so from -2 to 2 for a code from -1 to 1."""
    beyond = (knob.high - knob.low) / 2
    return knob.low - beyond, knob.high + beyond, _rounded(4 * beyond / _NOTCHES)


def _rounded(value: float) -> float:
    return round(value, 6)


def _wish(content: bytes) -> tuple[list[Values], int]:
    """Rows of codes, and the seed of the noise."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    rows = body.get("rows") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError('send {"rows": [{"c1": 3, …}, …], "seed": 0}, a row for each image.')
    if not 1 <= len(rows) <= _MOST_ROWS:
        raise UserError(f"{len(rows)} images are asked for, but it must be 1 to {_MOST_ROWS}.")
    seed = body.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UserError(f"seed is {seed!r}, but must be a whole number.")
    return rows, seed


def _reading(trained: Trained, content: bytes) -> dict[str, Any]:
    """The codes that Q reads in an image, and the generations with these codes nearest to it."""
    image, changed = trained.read(content)
    pixels = trained.as_pixels(image[None])
    columns = trained.encode(pixels)
    read = [_read_code(knob, columns) for knob in trained.knobs.values()]
    row = {each["name"]: each["value"] for each in read}
    drawn = trained.draws(row, range(_DRAWS))
    distances = np.sqrt(((trained.as_pixels(drawn) - pixels) ** 2).mean(axis=(1, 2, 3)))
    nearest = np.argsort(distances, kind="stable")[:_NEAREST]
    return {
        "image": _text(image),
        "changed": changed,
        "codes": read,
        "row": row,
        "nearest": [
            {"seed": int(seed), "distance": float(distances[seed]), "image": _text(drawn[seed])}
            for seed in nearest
        ],
    }


def _read_code(knob: Knob, columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """What was read of a code; ``value`` is the place of its control that comes nearest."""
    name, read = knob.name, columns[knob.name][0].item()
    if knob.categories:
        shares = [columns[f"{name}_p{k}"][0].item() for k in range(knob.categories)]
        return {"name": name, "value": read, "probabilities": shares}
    least, most, step = _slider(knob)
    value = min(max(least + round((read - least) / step) * step, least), most)
    deviation = columns[f"{name}_sd"][0].item()
    return {"name": name, "value": _rounded(value), "mean": read, "deviation": deviation}


def _text(image: np.ndarray) -> str:
    return base64.b64encode(image.tobytes()).decode()


# --- What is refused -----------------------------------------------------------------------------


def _refuse_other_pages() -> None:
    origin = request.headers.get("Origin")
    if origin is not None and origin != request.host_url.rstrip("/"):
        raise UserError(f"a page of {origin} asks, but only the explorer's own page is answered.")


def _add_headers(response: Response) -> Response:
    response.headers.update(_HEADERS)
    return response


def _explain(error: Exception) -> tuple[Response, int]:
    """One sentence, and a status; what is no fault of the request is in the log, too."""
    if isinstance(error, UserError):
        return _sentence(str(error), 400)
    if isinstance(error, Rejected):
        return _sentence(f"this file {error}.", 400)
    if isinstance(error, RequestEntityTooLarge):
        return _sentence(f"more than {request.max_content_length:,} bytes were sent.", 400)
    if isinstance(error, NotFound):
        return _sentence(f"there is nothing at {request.path}.", 404)
    if isinstance(error, SecurityError):
        return _sentence(f"the explorer is to be found at {HOST} only.", 400)
    if isinstance(error, HTTPException):
        return _sentence(error.description or error.name, error.code or 500)
    logging.getLogger(__name__).exception("A request failed.")
    return _sentence("the explorer failed; why, stands where it was started.", 500)


def _sentence(text: str, status: int) -> tuple[Response, int]:
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return jsonify({"message": short}), status


# --- Serving -------------------------------------------------------------------------------------


def serve(shelf: Shelf, port: int, ready: Callable[[str], None]) -> None:
    """Answer until Ctrl-C; ``ready`` is told the address. Port 0 takes one that is free."""
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(
            f"port {port} cannot be used ({reason}): give another with --port; 0 is any free one."
        ) from None
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for each request
    # A dozen small images are a core's work; beside other work, cores that wait for each other
    # take several times as long.
    torch.set_num_threads(1)
    with listening:
        server = make_server(HOST, port, create_app(shelf), threaded=True, fd=listening.fileno())
        ready(f"http://{HOST}:{listening.getsockname()[1]}/")
        server.serve_forever()
