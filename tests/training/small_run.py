"""A training that takes moments, for the tests of everything around it."""

from pathlib import Path

from medsimclr.config.pretrain import PretrainConfig
from medsimclr.training.plan import Plan

__all__ = ["SMALL", "make_plan", "pretrain_config"]

SMALL = {"workers": 0, "device": "cpu", "precision": "fp32", "batch_size": 8, "log_seconds": 1e-6}


def pretrain_config(store: Path, out: Path, **changes) -> PretrainConfig:
    settings = {**SMALL, "epochs": 1, "view_px": 36, "policy": "simclr", **changes}
    return PretrainConfig(store=store, out=out, **settings)


def make_plan(total_steps=1000, warmup_steps=50, images_per_step=32) -> Plan:
    return Plan(
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        peak_lr=0.1,
        images_per_step=images_per_step,
        checkpoint_minutes=10,
        log_seconds=5,
    )
