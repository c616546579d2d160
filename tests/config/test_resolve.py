from pathlib import Path

import pytest

from medsimclr.config.base import difference, load_toml, resolve
from medsimclr.config.policies import PoliciesConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.config.tile import TileConfig
from medsimclr.errors import ConfigError

_PATHS = {"store": Path("s.zarr"), "out": Path("run")}


def _toml(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_a_flag_wins_over_set_over_toml_over_default(tmp_path):
    toml = _toml(tmp_path, "epochs = 7\nbatch_size = 8\ntemperature = 0.5\n")
    config = resolve(
        PretrainConfig,
        flags={**_PATHS, "epochs": 3},
        assignments=["epochs=5", "batch_size=16"],
        toml=toml,
    )
    assert (config.epochs, config.batch_size, config.temperature) == (3, 16, 0.5)
    assert config.width == PretrainConfig.model_fields["width"].default


def test_nested_keys_merge_over_the_sources(tmp_path):
    toml = _toml(tmp_path, "[policy_options]\nstrength = 0.1\nblur = true\n")
    config = resolve(
        PretrainConfig,
        flags=_PATHS,
        assignments=["policy_options.strength=0.5", "policy_options.name=a b"],
        toml=toml,
    )
    assert config.policy_options == {"strength": 0.5, "blur": True, "name": "a b"}


def test_a_later_assignment_wins_also_over_a_value_of_another_shape():
    assignments = ["tiles=3", "tiles=5", "policy_options=1", "policy_options.strength=0.5"]
    config = resolve(PoliciesConfig, flags={}, assignments=assignments)
    assert config.tiles == 5
    assert config.policy_options == {"strength": 0.5}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("0.5", 0.5), ("true", True), ("[1, 2]", [1, 2]), ('"1"', "1"), ("a b", "a b")],
)
def test_set_reads_toml_values_and_else_text(text, value):
    config = resolve(PoliciesConfig, flags={}, assignments=[f"policy_options.x = {text}"])
    assert config.policy_options["x"] == value
    assert type(config.policy_options["x"]) is type(value)


@pytest.mark.parametrize("text", ["epochs", "=3", " =3", ""])
def test_set_without_key_and_value_is_refused(text):
    with pytest.raises(ConfigError, match=f"--set expects key=value, got '{text}'"):
        resolve(PretrainConfig, flags=_PATHS, assignments=[text])


def test_an_unknown_key_names_its_source_the_nearest_and_all_known_keys(tmp_path):
    toml = _toml(tmp_path, "temprature = 0.5\n")
    known = ", ".join(sorted(PretrainConfig.model_fields))
    with pytest.raises(ConfigError) as caught:
        resolve(PretrainConfig, flags=_PATHS, toml=toml)
    assert str(caught.value) == (
        f"unknown configuration key 'temprature' in {toml}; did you mean 'temperature'? "
        f"known keys: {known}."
    )
    with pytest.raises(ConfigError, match=r"'zzz' in --set; known keys: base_lr, "):
        resolve(PretrainConfig, flags=_PATHS, assignments=["zzz.a=1"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs=0", r"epochs: Input should be greater than or equal to 1, got 0\."),
        ("epochs=many", r"epochs: .*valid integer.*, got 'many'\."),
        ("temperature=inf", r"temperature: .*finite number, got inf\."),
        ("temperature=nan", r"temperature: .*, got nan\."),
        ("depth=19", r"depth: Input should be 18, 34, 50, 101, 152 or 200, got 19\."),
        ("policy_options=3", r"policy_options: .*dictionary, got 3\."),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_came(assignment, message):
    with pytest.raises(ConfigError, match=message):
        resolve(PretrainConfig, flags=_PATHS, assignments=[assignment])


def test_required_keys_are_asked_for():
    with pytest.raises(
        ConfigError, match="store and out must be given, on the command line or in --config"
    ):
        resolve(PretrainConfig, flags={})


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff\xfe", None])
def test_a_bad_toml_file_is_a_config_error(tmp_path, content):
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.toml' must be a readable TOML file"):
        load_toml(path)


def test_difference_lists_changed_and_added_keys_and_takes_none_for_absent():
    old = {"a": 1, "b": None, "c": "x", "same": [1]}
    new = {"a": 2, "c": "y", "d": 0, "same": [1]}
    assert difference(old, new) == [
        "a: 1 -> 2",
        "c: 'x' -> 'y'",
        "d: 'not set' -> 0",
    ]
    assert difference(old, old) == []


def test_with_changes_validates_and_leaves_the_original():
    config = TileConfig(inputs=[Path("a")], out=Path("b"))
    assert config.with_changes(tile_px=96).tile_px == 96
    assert config.tile_px == 224
    with pytest.raises(ValueError, match="greater than or equal to 8"):
        config.with_changes(tile_px=1)
    with pytest.raises(ValueError, match="frozen"):
        config.tile_px = 5


def test_what_several_fields_must_be_together_is_one_sentence():
    flags = {"inputs": ["a.svs"], "out": "s.zarr", "stride_px": 9, "overlap_px": 9}
    with pytest.raises(ConfigError, match=r"^give --stride-px or --overlap-px, not both\.$"):
        resolve(TileConfig, flags=flags)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            {"micro_batch": 512, "batch_size": 64},
            r"--micro-batch must be at most the --batch-size of 64, got 512; leave it out",
        ),
        (
            {"dry_run": True, "find_temperature": True},
            r"give either --dry-run or --find-temperature, got both",
        ),
    ],
)
def test_settings_of_pretraining_that_contradict_one_another_are_refused(flags, sentence):
    with pytest.raises(ConfigError, match=sentence):
        resolve(PretrainConfig, flags={"store": "s.zarr", "out": "run", **flags})
