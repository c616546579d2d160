"""One contract for the configuration of every command."""

import importlib
import pkgutil

import pytest

import medsimclr.config
from medsimclr.config.base import Argument, CommandConfig, Flag, dump_toml, load_toml, resolve

# A new flag is a decision: most keys are reached by --set. Change a line here on purpose only.
_FLAGS = {
    "DatasetsConfig": "",
    "DemoConfig": "out smoke seed workers",
    "DistillConfig": "store out epochs batch_size seed device workers run depth temperature policy",
    "EvaluateConfig": "runs store out split label_table baselines seed device workers",
    "FinetuneConfig": "store out epochs batch_size seed device workers run labels label_table "
    "classes head_layer freeze policy",
    "HeatmapConfig": "run store slide out class_name device",
    "InspectConfig": "inputs mpp tile_px stride_px overlap_px edge reader source_mpp",
    "PoliciesConfig": "",
    "PolicyCheckConfig": "policy view_px",
    "PolicyCompareConfig": "policies store out epochs seeds view_px batch_size folds unseen_centre "
    "unseen_store",
    "PolicyFitConfig": "policy store out split seed overwrite",
    "PolicyShowConfig": "policy store out view_px seed",
    "PolicySuggestConfig": "store out split seed",
    "PretrainConfig": "store out epochs batch_size seed device workers start_from policy depth "
    "width selective_kernels view_px temperature micro_batch batch_from find_temperature "
    "dry_run split test_fraction",
    "TileConfig": "inputs out mpp tile_px annotations slides_csv codec source_mpp stride_px "
    "overlap_px edge reader min_tissue max_ink max_blank min_focus preview workers overwrite "
    "dry_run",
    "TrainingConfig": "store out epochs batch_size seed device workers",
    "VerifyConfig": "store inputs repair annotations slides_csv workers",
}


def _all_configs():
    found = {}
    for module in pkgutil.iter_modules(medsimclr.config.__path__):
        content = importlib.import_module(f"medsimclr.config.{module.name}")
        for name in content.__all__:
            value = getattr(content, name)
            if isinstance(value, type) and issubclass(value, CommandConfig):
                found[name] = value
    del found["CommandConfig"]
    return found


_CONFIGS = _all_configs()
# Enough to build each one, with paths that need quoting in TOML.
_REQUIRED = {
    "inputs": ["slides/a 'b'.svs", 'slides/"c".svs'],
    "runs": ["runs/a"],
    "run": "runs/ä",
    "slide": "slide-1",
    "store": "a\\b.zarr",
    "out": "out dir",
    "policy": "my 'lab'.py:Mine",
}


def _example(model):
    return model.model_validate(
        {name: _REQUIRED[name] for name, field in model.model_fields.items() if field.is_required()}
    )


def test_the_flags_of_every_command_are_those_decided():
    flags = {
        name: " ".join(
            key
            for key, field in model.model_fields.items()
            if any(isinstance(marker, Argument | Flag) for marker in field.metadata)
        )
        for name, model in _CONFIGS.items()
    }
    assert flags == _FLAGS


@pytest.mark.parametrize("name", sorted(_CONFIGS))
def test_a_record_written_as_toml_is_the_same_configuration(name, tmp_path):
    config = _example(_CONFIGS[name])
    path = tmp_path / "config.toml"
    path.write_text(dump_toml(config.record()), encoding="utf-8")
    assert load_toml(path) == config.record()
    assert resolve(_CONFIGS[name], flags={}, toml=path) == config


@pytest.mark.parametrize("name", sorted(_CONFIGS))
def test_every_field_and_command_says_what_it_is(name):
    model = _CONFIGS[name]
    assert model.__doc__
    undescribed = [key for key, field in model.model_fields.items() if not field.description]
    assert undescribed == []


@pytest.mark.parametrize("name", sorted(_CONFIGS))
def test_every_configuration_is_frozen_and_refuses_unknown_keys(name):
    model = _CONFIGS[name]
    assert model.model_config["frozen"]
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        model.model_validate({**_example(model).model_dump(), "unheard_of": 1})


@pytest.mark.parametrize("name", [n for n in sorted(_CONFIGS) if hasattr(_CONFIGS[n], "identity")])
def test_identity_names_no_path_and_no_machine(name):
    config = _example(_CONFIGS[name])
    identity = config.identity()
    assert not identity.keys() & {"out", "store", "inputs", "workers", "device", "overwrite"}
    moved = config.with_changes(out="elsewhere", workers=3)
    assert moved.identity() == identity
    assert identity
