"""The policy of a run before, for what goes on from it.

A checkpoint serves for inference without its policy: only fine-tuning and distillation come here.
The record is no more trusted than any other input: a pipeline in it is held to what a file is held
to, and a policy file that it names is run only if it has the text that was recorded.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsimclr.augment.contract import check_policy
from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import AugmentationPolicy
from medsimclr.errors import PolicyError

__all__ = ["load_recorded_policy"]

_PIPELINE = "medsimclr.augment.pipeline:PipelinePolicy"
_ELSE = "or give --policy (evaluate and heatmap do without)"


class _Record(BaseModel):
    """What loading needs of `policy_record`."""

    model_config = ConfigDict(frozen=True, strict=True)

    class_name: str = Field(alias="class")
    fields: dict[str, Any]
    distribution: str | None
    version: str | None


def load_recorded_policy(
    spec: str, record: Mapping[str, Any], *, options: Mapping[str, object]
) -> AugmentationPolicy:
    """Load the policy of a run again, with the fields that it had.

    A saved pipeline comes from the record itself; its file may be gone.

    Args:
        spec: what the run was given.
        record: what `policy_record` gave then.
        options: fields to set otherwise than they were.

    Raises:
        PolicyError: it is not installed here, its file has another text now, or the record is none.
    """
    name = f"augmentation policy {spec!r} of the run before"
    try:
        before = _Record.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PolicyError(
            f"{name} must be recorded with class, fields, distribution and version in its "
            f"lineage.json, got {where}: {first['msg']}; restore that file, {_ELSE}."
        ) from error
    if before.class_name == _PIPELINE:
        return _recorded_pipeline(before.fields, options, name)
    try:
        return load_policy(spec, options={**before.fields, **options}, only_class=before.class_name)
    except PolicyError as error:
        package = f"Install {before.distribution} {before.version}"
        mend = package if before.distribution else "Put its file back"
        raise PolicyError(f"{name} cannot be loaded: {error} {mend}, {_ELSE}.") from error


def _recorded_pipeline(
    fields: Mapping[str, Any], options: Mapping[str, object], name: str
) -> AugmentationPolicy:
    # albumentations takes a second to import.
    from medsimclr.augment.pipeline import pipeline_policy

    if options:
        raise PolicyError(
            f"{name} is a saved pipeline and has no options, got {', '.join(options)}; leave "
            f"policy_options out, {_ELSE}."
        )
    try:
        content = {
            kind: {"transform": json.loads(fields[f"{kind}_json"])}
            for kind in ("contrastive", "supervised")
        }
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise PolicyError(
            f"{name} must be recorded with two pipelines as JSON, contrastive_json and "
            f"supervised_json, got {type(error).__name__}: {error}; restore the run's "
            f"lineage.json, {_ELSE}."
        ) from error
    policy = pipeline_policy(content, where=name)
    if problems := check_policy(policy, is_thorough=False):
        raise PolicyError(f"{name}: {problems[0]}")
    return policy
