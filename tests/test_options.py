"""What may be written is understood; what may not is refused in a sentence that helps."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from infogan.errors import UserError
from infogan.options import (
    BLOCKS,
    FURTHER_BLOCKS,
    CategoricalPrior,
    Data,
    Evaluation,
    Layer,
    Model,
    Noise,
    Reporting,
    Source,
    Training,
    Transform,
    UniformPrior,
    check_blocks,
    extensions,
    fingerprint,
    flatten,
    parse_code,
    parse_noise,
    parse_slice,
    parse_transform,
    shapes,
)

ROOT = Path(__file__).parents[1]
CONSISTENCY = {
    "codes": ["c1"],
    "weight": "0 to 1 until 100",
    "balance": 2.0,
    "rotation": 0.2,
    "scale": "0.3 to 0.1 from 50 until 200",
    "shear": 0.1,
    "shift": 0.1,
}
CLUSTERING = {
    "code": "c1",
    "weight": 1.0,
    "iterations": 300,
    "refinements": 100,
    "lr": 5e-4,
    "temperature": 0.5,
    "certainty": 0.3,
    "rotation": 0.5,
    "scale": 0.15,
    "shear": 0.25,
    "shift": 0.15,
}
DATA = {"shape": [1, 8, 8], "transforms": [], "train": "all[0:20]", "test": "all[20:28]"}


# --- Parameter files -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_the_parameter_files_are_valid(name: str) -> None:
    path = ROOT / "conf" / "base" / f"parameters_{name}.yml"
    blocks = yaml.safe_load(path.read_text())[name]
    assert list(blocks) == [*BLOCKS, *FURTHER_BLOCKS]
    FURTHER_BLOCKS["study"].model_validate(blocks["study"])
    read = {key: BLOCKS[key].model_validate(blocks[key]) for key in BLOCKS}
    check_blocks(read["data"], read["model"], read["training"])  # type: ignore[arg-type]


def test_the_published_codes_settings_are_valid(mnist: dict[str, Any]) -> None:
    path = ROOT / "conf" / "official" / "parameters_mnist.yml"
    changes = yaml.safe_load(path.read_text())["mnist"]
    blocks = {key: {**mnist[key], **changes.get(key, {})} for key in mnist}
    model = Model.model_validate(blocks["model"])
    data = Data.model_validate(blocks["data"])
    training = Training.model_validate(blocks["training"])
    check_blocks(data, model, training)
    assert model.spread == "fixed"
    assert data.train.count == 55_000
    assert training.lambda_categorical == training.lambda_continuous == 1


def test_a_block_survives_its_own_dump(model: Model, training: Training) -> None:
    assert Model.model_validate(model.model_dump(mode="json")) == model
    assert Training.model_validate(training.model_dump(mode="json")) == training


def test_a_block_with_every_extension_survives_its_own_dump(
    make_training: Callable[..., Training],
) -> None:
    training = make_training(
        consistency=CONSISTENCY, lr_d="1e-3 to 0 until 9", instance_noise="0.1 to 0 until 9"
    )
    dumped = training.model_dump(mode="json")
    assert dumped["consistency"]["scale"] == "0.3 to 0.1 from 50 until 200"
    assert Training.model_validate(dumped) == training


def test_no_extension_is_on_unless_it_is_asked_for(training: Training) -> None:
    assert training.consistency is None
    assert training.instance_noise == 0
    assert training.steps_g == 1
    assert training.average_g is None
    assert not training.joint_batch_norm


def test_a_block_cannot_be_changed(training: Training) -> None:
    with pytest.raises(ValueError, match="frozen"):
        training.lr_d = 1  # type: ignore[misc]


# --- The languages -------------------------------------------------------------------------------

LAYERS = [
    "fc 1024 bn relu",
    "fc 7x9x128 bn relu",
    "fc 3",
    "conv 64 s2 lrelu",
    "conv 64 s1 bn tanh",
    "upconv 64 s2 bn relu",
    "upconv 1 s1 sigmoid",
    "fc 7x9x128 sn bn relu",
    "conv 64 s2 sn lrelu",
    "upconv 64 s2 sn",
]


@pytest.mark.parametrize("line", LAYERS)
def test_a_layer_line_reads_back_as_it_was_written(line: str) -> None:
    assert str(Layer.parse(line)) == line
    assert Layer.parse(Layer.parse(line)) == Layer.parse(line)


def test_a_layer_line_means_what_the_paper_prints() -> None:
    assert Layer.parse("fc 7x9x128 bn relu") == Layer("fc", (128, 7, 9), 1, True, "relu")
    assert Layer.parse("conv 64 s2 lrelu") == Layer("conv", (64,), 2, False, "lrelu")
    assert Layer.parse("conv 64 lrelu") == Layer("conv", (64,), 1, False, "lrelu")
    assert Layer.parse("conv 64 s2 sn") == Layer("conv", (64,), 2, False, None, spectral_norm=True)


def test_layers_change_shapes_as_convolutions_do() -> None:
    lines = ["fc 3x5x8", "upconv 4 s2", "upconv 3 s1", "conv 2 s1", "conv 7 s2", "fc 9"]
    layers = [Layer.parse(line) for line in lines]
    expected = [(6,), (8, 3, 5), (4, 6, 10), (3, 6, 10), (2, 6, 10), (7, 3, 5), (9,)]
    assert shapes(layers, (6,)) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("c1 categorical 10", CategoricalPrior("c1", 10)),
        ("c2 uniform -1 1", UniformPrior("c2", -1.0, 1.0, 1)),
        ("angle uniform 0.25 3.5 x2", UniformPrior("angle", 0.25, 3.5, 2)),
    ],
)
def test_a_code_line_reads_back_as_it_was_written(line: str, value: object) -> None:
    assert parse_code(line) == value
    assert str(parse_code(line)) == line
    assert parse_code(parse_code(line)) == value


@pytest.mark.parametrize("line", ["uniform 62", "normal 3"])
def test_a_noise_line_reads_back_as_it_was_written(line: str) -> None:
    assert str(parse_noise(line)) == line
    assert parse_noise(parse_noise(line)) == Noise(*_noise(line))  # type: ignore[arg-type]


def _noise(line: str) -> tuple[str, int]:
    distribution, size = line.split()
    return distribution, int(size)


@pytest.mark.parametrize("line", ["center_crop 108x90", "resize 32x16", "grayscale"])
def test_a_transform_line_reads_back_as_it_was_written(line: str) -> None:
    assert str(parse_transform(line)) == line
    assert parse_transform(parse_transform(line)) == parse_transform(line)


def test_a_transform_is_height_by_width() -> None:
    assert parse_transform("resize 32x16") == Transform("resize", (32, 16))


def test_a_slice_reads_back_as_it_was_written() -> None:
    part = parse_slice("train[5000:60000]")
    assert str(part) == "train[5000:60000]"
    assert part.count == 55_000
    assert parse_slice(part) == part


# --- Refusals ------------------------------------------------------------------------------------


TRAINING_NEEDS = [key for key, field in Training.model_fields.items() if field.is_required()]


def refuses(block: type, content: dict[str, Any], *words: str) -> None:
    with pytest.raises(UserError) as refusal:
        block.model_validate(content)  # type: ignore[attr-defined]
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr_dd": 0.1}, ["training.lr_dd is not a known key", "did you mean lr_d?"]),
        ({"zzz": 0.1}, ["training.zzz is not a known key", "remove it"]),
        ({"iterations": "many"}, ["training.iterations is 'many'", "valid integer"]),
        ({"iterations": 0}, ["training.iterations is 0", "greater than or equal to 1"]),
        ({"iterations": 1.5}, ["training.iterations is 1.5", "valid integer"]),
        ({"seeds": [-1]}, ["training.seeds.0 is -1", "greater than or equal to 0"]),
        ({"seeds": []}, ["training.seeds is []"]),
        ({"seeds": [1, 2, 1]}, ["training.seeds", "[1, 2, 1] has a seed twice"]),
        ({"resume": "always"}, ["training.resume is 'always'", "'auto' or 'never'"]),
        ({"precision": "float16"}, ["training.precision is 'float16'"]),
        ({"batch_size": 1}, ["training.batch_size is 1", "greater than or equal to 2"]),
        ({"lr_d": -2e-4}, ["training.lr_d: -0.0002 is not a number of 0 or more"]),
        ({"lr_d": 0}, ["training.lr_d: 0.0 is no learning rate: it must be more than 0."]),
        ({"lr_d": "0 to 0 until 5"}, ["training.lr_d: 0 to 0 until 5 is no learning rate"]),
        ({"lr_g": math.nan}, ["training.lr_g: nan is not a number of 0 or more"]),
        ({"lr_g": math.inf}, ["training.lr_g: inf is not a number of 0 or more"]),
        ({"lr_g": "fast"}, ["training.lr_g: 'fast' is not understood", "A to B until ITERATION"]),
        (
            {"lambda_continuous": -1},
            ["training.lambda_continuous: -1 is not a number of 0 or more"],
        ),
        ({"instance_noise": -1}, ["training.instance_noise: -1 is not a number of 0 or more"]),
        ({"steps_g": 0}, ["training.steps_g is 0", "greater than or equal to 1"]),
        ({"average_g": 1}, ["training.average_g is 1", "less than 1"]),
        ({"average_g": 0}, ["training.average_g is 0", "greater than 0"]),
        ({"average_g": "0.9"}, ["training.average_g is '0.9': write a number, without quotes."]),
        ({"joint_batch_norm": 2}, ["training.joint_batch_norm is 2: write true or false"]),
        ({"betas": [0.5, 1.0]}, ["training.betas.1 is 1.0", "less than 1"]),
        ({"betas": [0.5]}, ["training.betas.1 is missing"]),
        ({"betas": ["0.5", 0.9]}, ["training.betas.0 is '0.5': write a number, without quotes."]),
        ({"betas": [False, 0.9]}, ["training.betas.0 is False: write a number, without quotes."]),
        ({"mi_trains_trunk": "yes"}, ["training.mi_trains_trunk is 'yes': write true or false"]),
        ({"mi_trains_trunk": 1}, ["training.mi_trains_trunk is 1: write true or false"]),
        ({"deterministic": 0}, ["training.deterministic is 0: write true or false"]),
        ({"baseline": "none"}, ["training.baseline is 'none'", "'joint' or 'head'"]),
        ({"device": "tpu"}, ["training.device is 'tpu'", "'auto', 'cpu' or 'cuda'"]),
    ],
)
def test_a_bad_training_option_is_named_with_what_would_be_right(
    training_block: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    refuses(Training, {**training_block, **changes}, *words)


@pytest.mark.parametrize("key", TRAINING_NEEDS)
def test_a_missing_training_option_is_named(training_block: dict[str, Any], key: str) -> None:
    rest = {name: value for name, value in training_block.items() if name != key}
    refuses(Training, rest, f"training.{key} is missing.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codes": []}, ["training.consistency.codes is []", "at least 1"]),
        ({"weight": -1}, ["training.consistency.weight: -1 is not a number of 0 or more"]),
        ({"balance": -1}, ["training.consistency.balance is -1", "greater than or equal to 0"]),
        ({"scale": 1}, ["training.consistency.scale: 1.0 would shrink an image to nothing"]),
        (
            {"scale": "0.1 to 1.5 until 9"},
            ["training.consistency.scale: 0.1 to 1.5 until 9 would shrink", "less than 1"],
        ),
        ({"shfit": 1}, ["training.consistency.shfit is not a known key; did you mean shift?"]),
    ],
)
def test_a_bad_consistency_is_named_with_what_would_be_right(
    training_block: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    refuses(Training, {**training_block, "consistency": {**CONSISTENCY, **changes}}, *words)


@pytest.mark.parametrize("key", ["codes", "weight", "balance", "rotation", "shift"])
def test_a_consistency_says_everything(training_block: dict[str, Any], key: str) -> None:
    rest = {name: value for name, value in CONSISTENCY.items() if name != key}
    told = f"training.consistency.{key} is missing."
    refuses(Training, {**training_block, "consistency": rest}, told)


@pytest.mark.parametrize("name", ["c2", "c9"])
def test_consistency_of_a_code_without_categories_is_refused(
    model: Model, make_training: Callable[..., Training], name: str
) -> None:
    data = Data.model_validate(DATA)
    check_blocks(data, model, make_training(consistency=CONSISTENCY))
    words = (
        f"^training\\.consistency\\.codes names '{name}', but the categorical codes of the model "
        "are c1\\.$"
    )
    with pytest.raises(UserError, match=words):
        check_blocks(data, model, make_training(consistency={**CONSISTENCY, "codes": [name]}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": None}, ["training.clustering.code is None"]),
        ({"weight": -1}, ["training.clustering.weight: -1 is not a number of 0 or more"]),
        ({"iterations": 0}, ["training.clustering.iterations is 0", "greater than or equal to 1"]),
        ({"temperature": 0}, ["training.clustering.temperature is 0", "greater than 0"]),
        ({"lr": 0}, ["training.clustering.lr is 0", "greater than 0"]),
        ({"thickness": 1.5}, ["training.clustering.thickness: 1.5 would leave", "at most 1"]),
        ({"scale": 1}, ["training.clustering.scale: 1.0 would shrink an image to nothing"]),
        ({"shift": "0.1 to 0 until 9"}, ["training.clustering.shift: 0.1 to 0 until 9 cannot"]),
        ({"noise": "0.1 to 0 until 9"}, ["training.clustering.noise: 0.1 to 0 until 9 cannot"]),
    ],
)
def test_a_bad_clustering_is_named_with_what_would_be_right(
    training_block: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    refuses(Training, {**training_block, "clustering": {**CLUSTERING, **changes}}, *words)


def test_a_number_in_place_of_a_block_is_refused(training_block: dict[str, Any]) -> None:
    refuses(Training, 5, "training is 5: write its keys, each with a value.")  # type: ignore[arg-type]
    content = {**training_block, "clustering": 5}
    refuses(Training, content, "training.clustering is 5: write its keys, each with a value.")


def test_clustering_is_of_a_code_with_categories(
    model: Model, make_training: Callable[..., Training]
) -> None:
    data = Data.model_validate(DATA)
    check_blocks(data, model, make_training(clustering=CLUSTERING, devices=2))
    with pytest.raises(UserError, match=r"clustering\.code names 'c2', but the categorical codes"):
        check_blocks(data, model, make_training(clustering={**CLUSTERING, "code": "c2"}))


def test_without_categories_there_is_no_consistency(
    make_model: Callable[..., Model], make_training: Callable[..., Training]
) -> None:
    model = make_model(codes=["c1 uniform -1 1"])
    with pytest.raises(UserError, match="the categorical codes of the model are none"):
        check_blocks(Data.model_validate(DATA), model, make_training(consistency=CONSISTENCY))


def test_all_mistakes_of_a_block_are_told_at_once(training_block: dict[str, Any]) -> None:
    changes = {"lr_d": -1, "seeds": "x", "speed": 3}
    words = ["training.lr_d: -1 is", "training.seeds is 'x'", "training.speed is not a known key"]
    refuses(Training, {**training_block, **changes}, *words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pool 4", ["unknown layer 'pool 4'", "a line starts with fc, conv or upconv"]),
        ("conv 8 s3", ["layer 'conv 8 s3': 's3' is not understood", "s1 or s2"]),
        ("fc 8 s2", ["layer 'fc 8 s2': 's2' is not understood", "sn, bn, then one of"]),
        ("fc", ["layer 'fc' has no size", "number of units", "HxWxC"]),
        ("conv relu", ["layer 'conv relu' has no size", "number of units or channels"]),
        ("fc 0", ["layer 'fc 0' has no size"]),
        ("fc 2x2", ["layer 'fc 2x2' has no size", "HxWxC"]),
        ("conv 2x2x8", ["layer 'conv 2x2x8'", "only fc has a size HxWxC"]),
        ("conv 8 lrelu bn", ["layer 'conv 8 lrelu bn': 'bn' is not understood here"]),
        ("conv 8 relu tanh", ["'tanh' is not understood here"]),
        ("conv 8 swish", ["'swish' is not understood", "relu, lrelu, sigmoid, tanh"]),
        ("", ["a layer is a line such as 'conv 64 s2 bn lrelu', not ''"]),
        (4, ["a layer is a line such as 'conv 64 s2 bn lrelu', not 4"]),
    ],
)
@pytest.mark.parametrize("key", ["generator", "trunk", "d_head", "q_head"])
def test_a_bad_layer_line_is_quoted_with_what_would_be_right(
    model_block: dict[str, Any], key: str, line: object, words: list[str]
) -> None:
    refuses(Model, {**model_block, key: [line]}, f"model.{key}.0", *words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("c1 categorical 1", ["'c1 categorical 1'", "at least two categories"]),
        ("c1 categorical ten", ["'c1 categorical ten'", "NAME categorical K"]),
        ("c1 uniform 1 -1", ["'c1 uniform 1 -1'", "wrong way round", "smaller number first"]),
        ("c1 uniform 1 1", ["'c1 uniform 1 1'", "wrong way round or empty"]),
        ("c1 uniform 0 inf", ["'c1 uniform 0 inf'"]),
        ("c1 uniform nan 1", ["'c1 uniform nan 1'"]),
        ("c1 uniform a b", ["'c1 uniform a b'", "two numbers"]),
        ("c1 uniform -1 1 2", ["'c1 uniform -1 1 2'", "[xDIM]"]),
        ("c1 uniform -1 1 x0", ["'c1 uniform -1 1 x0'", "[xDIM]"]),
        ("c1 normal 0 1", ["'c1 normal 0 1'", "NAME uniform LOW HIGH"]),
        ("1c categorical 3", ["'1c categorical 3'", "NAME categorical K"]),
        ("categorical 3", ["'categorical 3'", "NAME categorical K"]),
        (3, ["code 3 is not understood"]),
    ],
)
def test_a_bad_code_line_is_quoted_with_what_would_be_right(
    model_block: dict[str, Any], line: object, words: list[str]
) -> None:
    refuses(Model, {**model_block, "codes": [line]}, "model.codes.0", *words)


def test_two_codes_of_one_name_are_refused(model_block: dict[str, Any]) -> None:
    codes = ["c1 categorical 3", "c1 uniform -1 1"]
    refuses(Model, {**model_block, "codes": codes}, "model.codes", "two codes are called 'c1'")


@pytest.mark.parametrize("key", ["codes", "generator", "trunk"])
def test_a_model_needs_codes_a_generator_and_a_trunk(
    model_block: dict[str, Any], key: str
) -> None:
    refuses(Model, {**model_block, key: []}, f"model.{key} is []", "at least 1")


@pytest.mark.parametrize("line", ["gauss 3", "uniform 0", "uniform", "normal -3", 62])
def test_a_bad_noise_line_is_quoted_with_what_would_be_right(
    model_block: dict[str, Any], line: object
) -> None:
    refuses(Model, {**model_block, "noise": line}, f"model.noise: noise {line!r}", "'uniform 62'")


@pytest.mark.parametrize("slope", [-0.1, 1.0, math.nan])
def test_a_leaky_slope_lies_between_0_and_1(model_block: dict[str, Any], slope: float) -> None:
    refuses(Model, {**model_block, "leaky_slope": slope}, f"model.leaky_slope is {slope}")


@pytest.mark.parametrize("slope", [False, True, "0.1", "1e-1", None])
def test_what_is_no_number_is_none_for_a_network_either(
    model_block: dict[str, Any], slope: object
) -> None:
    told = "write a number, without quotes."
    refuses(
        Model, {**model_block, "leaky_slope": slope}, f"model.leaky_slope is {slope!r}: {told}"
    )
    content = {**model_block, "pixel_range": [0, slope]}
    refuses(Model, content, f"model.pixel_range.1 is {slope!r}: {told}")


@pytest.mark.parametrize("written", ["0", "1e-1", "0.1", "2.0e-1"])
def test_a_number_may_be_written_as_kedro_reads_it(
    make_model: Callable[..., Model], make_training: Callable[..., Training], written: str
) -> None:
    """Plain YAML would take 1e-1 for a text."""
    value = OmegaConf.create(f"value: {written}").value
    assert make_model(leaky_slope=value).leaky_slope == float(written)
    assert make_training(betas=[value, 0.9]).betas == (float(written), 0.9)
    assert make_training(lambda_continuous=value).lambda_continuous == float(written)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": "all"}, ["data.train: 'all' is not understood", "'train[0:60000]'"]),
        ({"train": "all[0-5]"}, ["data.train: 'all[0-5]' is not understood"]),
        ({"test": "all[9:5]"}, ["data.test: 'all[9:5]' is empty", "must be larger"]),
        ({"test": "all[5:5]"}, ["data.test: 'all[5:5]' is empty", "must be larger"]),
        ({"transforms": ["blur 3"]}, ["data.transforms.0", "'blur 3'", "'resize HxW'"]),
        ({"transforms": ["resize 32"]}, ["data.transforms.0", "'resize 32'", "HxW"]),
        ({"shape": [1, 28]}, ["data.shape.2 is missing"]),
        ({"shape": [1, 28, 0]}, ["data.shape.2 is 0", "greater than or equal to 1"]),
        ({"sha": 3}, ["data.sha is not a known key", "did you mean shape?"]),
    ],
)
def test_a_bad_data_option_is_named_with_what_would_be_right(
    changes: dict[str, Any], words: list[str]
) -> None:
    refuses(Data, {**DATA, **changes}, *words)


def test_a_fid_without_images_is_refused(mnist: dict[str, Any]) -> None:
    content = {**mnist["evaluation"], "inception_weights": "w.pth", "generated_images": 0}
    refuses(Evaluation, content, "inception_weights", "but generated_images is 0: say how")


@pytest.mark.parametrize("limits", [[2.0, -2.0], [1.0, 1.0]])
def test_a_traversal_range_the_wrong_way_round_is_refused(
    mnist: dict[str, Any], limits: list[float]
) -> None:
    content = {**mnist["evaluation"], "traversal_range": limits}
    refuses(Evaluation, content, "evaluation.traversal_range", f"{limits} is the wrong way round")


@pytest.mark.parametrize("limit", ["2.0", True])
def test_a_traversal_range_is_of_numbers(mnist: dict[str, Any], limit: object) -> None:
    content = {**mnist["evaluation"], "traversal_range": [-2, limit]}
    refuses(Evaluation, content, f"evaluation.traversal_range.1 is {limit!r}: write a number")


SCENE = {
    "kind": "faces",
    "images": 9,
    "seed": 0,
    "side": 32,
    "identity": 1.0,
    "azimuth": [-60, 60],
    "elevation": [0.0, 0.0],  # no more than one elevation
    "light": [-80.0, 80.0],
    "width": [0.8, 1.2],
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"azimuth": [60, -60]},
            ["source.scene.azimuth: [60.0, -60.0] is the wrong way round: smaller"],
        ),
        ({"elevation": [1, -1]}, ["source.scene.elevation: [1.0, -1.0] is the wrong way round"]),
        ({"light": [1, -1]}, ["source.scene.light: [1.0, -1.0] is the wrong way round"]),
        ({"width": [1.2, 0.8]}, ["source.scene.width: [1.2, 0.8] is the wrong way round"]),
        (
            {"width": [0, 1]},
            ["source.scene.width: [0.0, 1.0] has a face without width: it must be more than"],
        ),
        ({"width": [-1, 1]}, ["source.scene.width: [-1.0, 1.0] has a face without width"]),
        ({"light": [False, 1]}, ["light.0 is False: write a number, without quotes."]),
    ],
)
def test_a_scene_that_cannot_be_rendered_is_refused(
    changes: dict[str, Any], words: list[str]
) -> None:
    source = {"files": [], "addresses": []}
    Source.model_validate({**source, "scene": SCENE})
    refuses(Source, {**source, "scene": {**SCENE, **changes}}, "source.scene.", *words)


def test_a_traversal_has_at_least_two_columns(mnist: dict[str, Any]) -> None:
    content = {**mnist["evaluation"], "traversal_columns": 1}
    refuses(Evaluation, content, "evaluation.traversal_columns is 1", "equal to 2")


def test_a_bad_pin_of_a_source_file_is_named(mnist: dict[str, Any]) -> None:
    pin = {"name": "../../etc/passwd", "bytes": -1, "sha256": "0"}
    words = ["source.files.0.name", "source.files.0.bytes is -1", "source.files.0.sha256 is '0'"]
    refuses(Source, {**mnist["source"], "files": [pin]}, *words)


def test_a_bad_resolution_of_figures_is_named(mnist: dict[str, Any]) -> None:
    content = {**mnist["reporting"], "dpi": 10}
    refuses(Reporting, content, "reporting.dpi is 10", "greater than or equal to 50")


# --- Several keys together -----------------------------------------------------------------------


def test_a_generator_of_another_size_is_told_with_both_shapes(model: Model) -> None:
    words = (
        r"model\.generator ends in images of 1x8x8, but data\.shape is 1x28x28; "
        r"its layers give 8x2x2, 6x4x4, 1x8x8"
    )
    with pytest.raises(UserError, match=words):
        model.check_image_shape((1, 28, 28))


def test_a_generator_that_cannot_be_built_is_told(make_model: Callable[..., Model]) -> None:
    model = make_model(generator=["fc 8", "upconv 1 s2 sigmoid"])
    words = r"model\.generator cannot be built: 'upconv 1 s2 sigmoid' needs an image.*8 units"
    with pytest.raises(UserError, match=words):
        model.check_image_shape((1, 8, 8))


def test_an_odd_image_cannot_be_halved(make_model: Callable[..., Model]) -> None:
    model = make_model(trunk=["conv 4 s2", "conv 4 s2", "conv 4 s2", "conv 9 s2"])
    words = r"model\.trunk cannot be built: 'conv 9 s2' .*even height and width.* given 4x1x1"
    with pytest.raises(UserError, match=words):
        model.check_image_shape((1, 8, 8))


@pytest.mark.parametrize("batch_size", [21, 500])
def test_a_batch_larger_than_the_data_is_refused(
    model: Model, make_training: Callable[..., Training], batch_size: int
) -> None:
    words = rf"training\.batch_size is {batch_size}, but data\.train is 'all\[0:20\]', only 20"
    with pytest.raises(UserError, match=words):
        check_blocks(Data.model_validate(DATA), model, make_training(batch_size=batch_size))


def test_a_batch_as_large_as_the_data_is_accepted(
    model: Model, make_training: Callable[..., Training]
) -> None:
    check_blocks(Data.model_validate(DATA), model, make_training(batch_size=20))


@pytest.mark.parametrize(
    ("batch_size", "devices", "nodes", "fits"),
    [(8, 3, 1, 9), (8, 1, 3, 9), (10, 2, 2, 12), (4, 4, 1, 8), (3, 4, 1, 8)],
)
def test_a_batch_that_is_not_whole_images_for_every_process_is_refused(
    model: Model,
    make_training: Callable[..., Training],
    batch_size: int,
    devices: int,
    nodes: int,
    fits: int,
) -> None:
    data = Data.model_validate(DATA)
    processes = {"devices": devices, "nodes": nodes}
    words = rf"batch_size is {batch_size}, .* = {devices * nodes} processes .* {fits} can\."
    with pytest.raises(UserError, match=words):
        check_blocks(data, model, make_training(batch_size=batch_size, **processes))
    check_blocks(data, model, make_training(batch_size=fits, **processes))


def reporting(order: dict[str, Any]) -> Reporting:
    words = {"title": "t", "dpi": 100, "captions": {}, "claims": []}
    return Reporting.model_validate(words | ({"column_order": order} if order else {}))


@pytest.mark.parametrize("order", [{}, {"c1": [0, 1, 2]}, {"c1": [2, 0, 1]}])
def test_any_order_of_all_categories_is_accepted(model: Model, order: dict[str, Any]) -> None:
    reporting(order).check_column_order(model)


@pytest.mark.parametrize("order", [[], [0, 1], [1, 2, 3], [0, 1, 1], [0, 1, 2, 3]])
def test_an_order_of_other_categories_is_refused(model: Model, order: list[int]) -> None:
    words = re.escape(
        f"reporting.column_order.c1 is {order}: it must name each of the categories 0 to 2 once."
    )
    with pytest.raises(UserError, match=f"^{words}$"):
        reporting({"c1": order}).check_column_order(model)


@pytest.mark.parametrize("name", ["c2", "c9"])
def test_an_order_of_a_code_without_categories_is_refused(model: Model, name: str) -> None:
    words = f"column_order names '{name}', but the categorical codes of the model are c1"
    with pytest.raises(UserError, match=words):
        reporting({name: [0]}).check_column_order(model)


@pytest.mark.parametrize(("last", "fitting"), [("sigmoid", [0.0, 1.0]), ("tanh", [-1.0, 1.0])])
def test_the_pixel_range_is_that_of_the_last_activation(
    model_block: dict[str, Any], make_model: Callable[..., Model], last: str, fitting: list[float]
) -> None:
    generator = [*model_block["generator"][:-1], f"upconv 1 s2 {last}"]
    model = make_model(generator=generator, pixel_range=fitting)
    assert model.pixel_range == tuple(fitting)


# --- Identity of a training ----------------------------------------------------------------------

OTHER: dict[str, Any] = {
    "seeds": [1],
    "seeds_at_once": 2,
    "device": "auto",
    "iterations": 11,
    "baseline_iterations": 11,
    "batch_size": 9,
    "lr_d": 3e-3,
    "lr_g": 3e-3,
    "betas": [0.4, 0.999],
    "lambda_categorical": 2.0,
    "lambda_continuous": 0.2,
    "mi_trains_trunk": False,
    "baseline": "head",
    "evaluate_every": 6,
    "evaluation_samples": 101,
    "log_every": 2,
    "checkpoint_every": 6,
    "resume": "never",
    "precision": "tf32",
    "deterministic": True,
    "cuda_graph": False,
    "profile": True,
    "devices": 2,
    "nodes": 2,
    "batch_norm": "replica",
    "consistency": CONSISTENCY,
    "clustering": CLUSTERING,
    "instance_noise": 0.1,
    "steps_g": 2,
    "average_g": 0.99,
    "joint_batch_norm": True,
}
MAY_CHANGE = {
    "seeds",  # each has checkpoints of its own
    "seeds_at_once",
    "iterations",
    "baseline_iterations",
    "log_every",
    "checkpoint_every",
    "device",
    "resume",
    "cuda_graph",
    "profile",
    "devices",  # but for rounding
    "nodes",
}


@pytest.mark.parametrize("key", Training.model_fields)
def test_a_training_stays_the_same_only_if_nothing_changes_its_numbers(
    model: Model, training: Training, make_training: Callable[..., Training], key: str
) -> None:
    changed = make_training(**{key: OTHER[key]})
    assert changed != training
    same = fingerprint(model, changed, "data") == fingerprint(model, training, "data")
    assert same == (key in MAY_CHANGE)


@pytest.mark.parametrize("key", ["lr_d", "lr_g", "lambda_categorical", "lambda_continuous"])
def test_a_number_that_changes_makes_another_training(
    model: Model, training: Training, make_training: Callable[..., Training], key: str
) -> None:
    start = getattr(training, key)
    lines = [
        f"{start} to 0.5 until 9",
        f"{start} to 0.5 from 1 until 9",
        f"{start} to 0.4 until 9",
    ]
    trainings = [training, *(make_training(**{key: line}) for line in lines)]
    assert len({fingerprint(model, each, "data") for each in trainings}) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": 1.0},
        {"balance": 1.0},
        {"rotation": 0.3},
        {"scale": 0.3},
        {"shear": 0.3},
        {"shift": 0.3},
        {"generated": 0.3},
    ],
    ids=str,
)
def test_another_consistency_is_another_training(
    model: Model, make_training: Callable[..., Training], changes: dict[str, Any]
) -> None:
    found = {
        fingerprint(model, make_training(consistency={**CONSISTENCY, **more}), "data")
        for more in ({}, changes)
    }
    assert len(found) == 2


def test_with_batch_norm_of_its_own_the_number_of_processes_makes_another_training(
    model: Model, make_training: Callable[..., Training]
) -> None:
    found = {
        fingerprint(
            model, make_training(batch_norm="replica", devices=devices, nodes=nodes), "data"
        )
        for devices, nodes in ((1, 1), (2, 1), (4, 1))
    }
    assert len(found) == 3
    two_by_two = make_training(batch_norm="replica", devices=2, nodes=2)
    assert fingerprint(model, two_by_two, "data") in found


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": "normal 4"},
        {"noise": "uniform 5"},
        {"codes": ["c1 categorical 3"]},
        {"codes": ["c1 categorical 3", "c3 uniform 0 4 x2", "c2 uniform -1 1"]},
        {"spread": "fixed"},
        {"leaky_slope": 0.2},
        {"generator": ["fc 8x8x1 sigmoid"]},
        {"generator": ["fc 8x8x1 tanh"], "pixel_range": [-1, 1]},
        {"trunk": ["conv 7 s2 lrelu"]},
        {"d_head": ["fc 3"]},
        {"q_head": []},
        {"trunk": ["conv 6 s2 sn lrelu", "conv 8 s2 bn lrelu"]},
    ],
)
def test_another_model_is_another_training(
    training: Training, make_model: Callable[..., Model], changes: dict[str, Any]
) -> None:
    assert fingerprint(make_model(**changes), training, "data") != fingerprint(
        make_model(), training, "data"
    )


def test_other_data_are_another_training(model: Model, training: Training) -> None:
    assert fingerprint(model, training, "a") != fingerprint(model, training, "b")


def test_the_spelling_of_a_number_does_not_matter(
    model: Model, training: Training, make_training: Callable[..., Training]
) -> None:
    assert fingerprint(model, make_training(lambda_categorical=1), "data") == fingerprint(
        model, training, "data"
    )


# --- For the tracker -----------------------------------------------------------------------------


def test_flattening_names_every_value_by_its_path(
    training_block: dict[str, Any], training: Training, model: Model
) -> None:
    flat = flatten(training, "training")
    assert set(flat) == {f"training.{key}" for key in Training.model_fields}
    assert flat["training.lr_d"] == 2e-3
    assert flat["training.betas"] == "0.5, 0.999"
    assert flatten(model, "model")["model.trunk"] == "conv 6 s2 lrelu, conv 8 s2 bn lrelu"


def test_flattening_goes_into_dictionaries(mnist: dict[str, Any]) -> None:
    flat = flatten(Reporting.model_validate(mnist["reporting"]), "reporting")
    captions = mnist["reporting"]["captions"]
    found = {key for key in flat if re.match(r"reporting\.captions\.", key)}
    assert found == {f"reporting.captions.{name}" for name in captions}


# --- In one plain sentence each ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"pixel_range": [-1.0, 1.0]},
            r"^model\.generator: it ends in sigmoid, which gives pixels in \[0, 1\], but "
            r"pixel_range is \[-1\.0, 1\.0\]\.$",
        ),
        ({"generator": ["fc 8x8x1 relu"]}, "last activation must be sigmoid .* or tanh"),
        ({"trunk": ["pool 4"]}, r"^model\.trunk\.0: unknown layer 'pool 4': [^.]*\.$"),
        ({"leaky_slope": 2}, r"^model\.leaky_slope is 2: Input should be less than 1\.$"),
        ({"q_head": "fc"}, r"^model\.q_head is 'fc': write a list, in square brackets\.$"),
        ({"codes": ["c_2 uniform -1 1"]}, "code 'c_2 uniform -1 1' is not understood"),
        ({"codes": ["c categorical \u00b2"]}, "is not understood"),
    ],
)
def test_a_bad_model_is_told_in_our_words_and_once(
    make_model: Callable[..., Model], changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        make_model(**changes)


@pytest.mark.parametrize("key", ["lr_d", "lr_g"])
@pytest.mark.parametrize("value", [0, -1, True, "2e-4"])
def test_a_bad_rate_is_shown_with_its_value(
    make_training: Callable[..., Training], key: str, value: object
) -> None:
    with pytest.raises(UserError, match=rf"^training\.{key}: {value!r}(\.0)? is "):
        make_training(**{key: value})


@pytest.mark.parametrize(
    "line",
    [
        "conv 8 s2 s1",
        "conv 8 bn bn",
        "conv 8 bn s2",
        "conv 8 lrelu s2",
        "conv 8 bn sn",
        "fc 8 sn sn",
    ],
)
def test_the_words_of_a_layer_stand_in_one_order(line: str) -> None:
    with pytest.raises(ValueError, match=rf"{line!r}.*not understood here"):
        Layer.parse(line)


@pytest.mark.parametrize("limits", [(-math.pi, math.pi), (0.1, 1e-7 + 0.1), (-1.0, 1e20)])
def test_a_codes_text_keeps_every_digit_of_its_range(limits: tuple[float, float]) -> None:
    code = parse_code(f"c1 uniform {limits[0]!r} {limits[1]!r}")
    assert parse_code(str(code)) == code


def test_both_heads_stand_on_the_trunks_features(make_model: Callable[..., Model]) -> None:
    make_model(d_head=["conv 4 s1 lrelu"]).check_image_shape((1, 8, 8))
    with pytest.raises(UserError, match=r"model.q_head cannot be built: 'conv 4 s2'"):
        make_model(trunk=["fc 9"], q_head=["conv 4 s2"]).check_image_shape((1, 8, 8))


def test_a_misspelt_key_of_a_file_is_answered_with_the_nearest(mnist: dict[str, Any]) -> None:
    source = mnist["source"]
    file = {"byte" if key == "bytes" else key: v for key, v in source["files"][0].items()}
    with pytest.raises(UserError, match=r"source\.files\.0\.byte .*did you mean bytes\?"):
        Source.model_validate({**source, "files": [file]})


@pytest.mark.parametrize("path", ["", " ", 2024, True, ["/a"], {"/a": "b"}])
def test_a_path_that_is_no_text_is_refused(mnist: dict[str, Any], path: object) -> None:
    told = f"source.path: {path!r} is no path: write that of a file or folder in quotes, or leave"
    refuses(Source, {**mnist["source"], "path": path}, told)


# --- Extensions of the paper ---------------------------------------------------------------------


def test_what_is_not_in_the_paper_is_named(
    make_model: Callable[..., Model], make_training: Callable[..., Training]
) -> None:
    model = make_model()
    assert extensions(model, make_training()) == ""
    carried_out = make_training(precision="bfloat16", cuda_graph=False, seeds=[1, 2])
    assert extensions(model, carried_out) == ""
    deformation = {"rotation": 0.1, "scale": 0.1, "shear": 0.1, "shift": 0.1}
    consistency = {"codes": ["c1"], "weight": 1.0, "balance": 1.0, **deformation}
    some = make_training(steps_g=2, lr_d="1.0e-3 to 0 until 9", consistency=consistency)
    sentence = extensions(model, some)
    assert "with training.consistency, training.steps_g, training.lr_d." in sentence
    for network in ("generator", "trunk", "q_head"):
        layers = [str(layer).replace(" bn ", " sn bn ") for layer in getattr(model, network)]
        normed = make_model(**{network: layers})
        assert "but with spectral norm." in extensions(normed, make_training())
