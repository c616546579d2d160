"""The policy of a run before, for what goes on from it.

A checkpoint serves for inference without its policy: only fine-tuning and distillation come here.
"""

from collections.abc import Mapping
from typing import Any

from medsimclr.augment.discovery import load_policy
from medsimclr.augment.policy import AugmentationPolicy, class_name
from medsimclr.errors import PolicyError

__all__ = ["load_recorded_policy"]

_PIPELINE = "medsimclr.augment.pipeline:PipelinePolicy"
_ELSE = "or give --policy (evaluate and heatmap do without)"


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
        PolicyError: it is not installed here, or its file has another text now.
    """
    if record["class"] == _PIPELINE and not options:
        from medsimclr.augment.pipeline import PipelinePolicy

        return PipelinePolicy(**record["fields"])
    name = f"augmentation policy {spec!r} of the run before"
    try:
        policy = load_policy(spec, options={**record["fields"], **options})
    except PolicyError as error:
        package = f"Install {record['distribution']} {record['version']}"
        mend = package if record["distribution"] else "Put its file back"
        raise PolicyError(f"{name} cannot be loaded: {error} {mend}, {_ELSE}.") from error
    if class_name(policy) != record["class"]:
        raise PolicyError(
            f"{name} must be {record['class']!r}, got {class_name(policy)!r}, of other code; put "
            f"the former back, {_ELSE}."
        )
    return policy
