from pathlib import Path

import pytest

from medsimclr.config.base import difference, load_toml, resolve
from medsimclr.config.policies import PolicyShowConfig
from medsimclr.config.pretrain import PretrainConfig
from medsimclr.config.tile import TileConfig
from medsimclr.errors import ConfigError

_PATHS = {"store": Path("s.zarr"), "out": Path("run")}


def _toml(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_a_flag_and_set_win_over_toml_over_default(tmp_path):
    toml = _toml(tmp_path, "epochs = 7\nbatch_size = 8\ntemperature = 0.5\n")
    config = resolve(
        PretrainConfig,
        flags={**_PATHS, "epochs": 3},
        assignments=["batch_size=16"],
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


@pytest.mark.parametrize(
    ("flags", "assignments", "sentence"),
    [
        ({"seed": 3}, ["seed=5"], "--seed and --set seed must have one value .*, got 3 and 5; "),
        ({}, ["width=3", "width=4"], "--set width must have one .*, got 3 and 4; leave one out"),
        ({}, ["policy_options.a=1", "policy_options.a=2"], r"--set policy_options\.a must have"),
    ],
)
def test_two_values_of_one_key_on_a_command_line_are_refused(flags, assignments, sentence):
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        resolve(PolicyShowConfig, flags=flags, assignments=assignments)


def test_a_value_that_is_given_twice_alike_is_taken():
    flags = {"store": Path("s.zarr"), "out": Path("sheets"), "view_px": 64}
    assignments = ["out=sheets", "view_px=64", "tiles=3", "tiles = 3"]
    config = resolve(PolicyShowConfig, flags=flags, assignments=assignments)
    assert (config.out, config.view_px, config.tiles) == (Path("sheets"), 64, 3)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("0.5", 0.5), ("true", True), ("[1, 2]", [1, 2]), ('"1"', "1"), ("a b", "a b")],
)
def test_set_reads_toml_values_and_else_text(text, value):
    config = resolve(
        PolicyShowConfig,
        flags={"store": Path("s.zarr")},
        assignments=[f"policy_options.x = {text}"],
    )
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
    ("assignment", "sentence"),
    [
        ("epochs=0", "epochs must be at least 1, got 0."),
        ("epochs=many", "epochs must be a whole number, got 'many'."),
        ("epochs=2.5", "epochs must be a whole number, got 2.5."),
        ("epochs=[2]", "epochs must be a whole number, got [2]."),
        ("seed=4294967296", "seed must be below 4294967296, got 4294967296."),
        ("width=5", "width must be at most 4, got 5."),
        ("temperature=0", "temperature must be above 0, got 0."),
        ("temperature=x", "temperature must be a number, got 'x'."),
        ("temperature=[]", "temperature must be a number, got []."),
        ("temperature=nan", "temperature must be a finite number, got nan."),
        ("temperatures=[1, 0]", "temperatures, item 2 must be above 0, got 0."),
        ("temperatures=[]", "temperatures must be a list of at least 1, got []."),
        ("temperatures=1", """temperatures must be a list, as in ["a", "b"], got 1."""),
        ("depth=19", "depth must be 18, 34, 50, 101, 152 or 200, got 19."),
        ("stem=big", "stem must be 'auto', 'standard' or 'small', got 'big'."),
        ("recompute=maybe", "recompute must be true or false, got 'maybe'."),
        ("recompute=[]", "recompute must be true or false, got []."),
        ("policy=3", "policy must be text, in quotes where it looks like a number, got 3."),
        ("split=3", "split must be a path, got 3."),
        (
            "policy_options=3",
            "policy_options must be a table of keys and values, as in { key = 1 }, got 3.",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_what_is_allowed(assignment, sentence):
    with pytest.raises(ConfigError) as caught:
        resolve(PretrainConfig, flags=_PATHS, assignments=[assignment])
    assert str(caught.value) == f"--set {sentence}"


def test_a_value_is_named_as_it_was_given(tmp_path):
    toml = _toml(tmp_path, "batch_size = 1\nwidth = 9\n")
    with pytest.raises(ConfigError) as caught:
        resolve(PretrainConfig, flags={**_PATHS, "batch_size": 0}, toml=toml)
    assert str(caught.value) == (
        f"--batch-size must be at least 2, got 0; width in {str(toml)!r} must be at most 4, got 9."
    )
    with pytest.raises(ConfigError, match=r"^SLIDES must be a list of at least 1, got \[\]\.$"):
        resolve(TileConfig, flags={"inputs": [], "out": "s.zarr"})


def test_required_keys_are_asked_for():
    with pytest.raises(
        ConfigError, match=r"^STORE and --out must be given, on the command line or in --config"
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


def test_a_split_may_stand_beside_the_default_share_that_earlier_versions_recorded(tmp_path):
    (tmp_path / "config.toml").write_text('split = "s.csv"\ntest_fraction = 0.25\n')
    flags = {"store": "s.zarr", "out": "run"}
    config = resolve(PretrainConfig, flags=flags, toml=tmp_path / "config.toml")
    assert "test_fraction" not in config.record()
    (tmp_path / "config.toml").write_text('split = "s.csv"\ntest_fraction = 0.3\n')
    with pytest.raises(
        ConfigError, match=r"either --split or --test-fraction, got 's.csv' and 0.3"
    ):
        resolve(PretrainConfig, flags=flags, toml=tmp_path / "config.toml")
