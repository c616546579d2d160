"""Let the reference compute the steps of reference_step.py in float64, into reference_steps.npz.

It needs an environment of its own, with google-research/simclr (commit 383d414) cloned beside:

    pip install tensorflow-cpu==2.21.0 tf_keras==2.21.0 absl-py
    python -m tests.references.make_reference_steps simclr/tf2 tests/references/reference_steps.npz

The keys are those of golden/README.md without the features, which the projections stand for. The
reference keeps its learning rate and the decay of its moving statistics in float32 even then, so
LARS steps are good to 4e-8 and moving statistics to 1e-8. A minute on one core.
"""

import os
import sys
from types import SimpleNamespace

os.environ.update(TF_USE_LEGACY_KERAS="1", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="-1")

import numpy as np
import tensorflow as tf  # type: ignore[import-not-found]
from absl import flags  # type: ignore[import-not-found]

from tests.references.reference_step import STEP_CASES, StepCase, draw_images, draw_variable

_FLAGS = {
    "train_mode": "pretrain",
    "lineareval_while_pretraining": False,
    "fine_tune_after_block": -1,
    "use_blur": False,
    "global_bn": True,
    "batch_norm_decay": 0.9,
    "se_ratio": 0.0,
    "proj_head_mode": "nonlinear",
    "proj_out_dim": 128,
    "num_proj_layers": 3,
    "ft_proj_selector": 0,
}


def main(reference: str, out: str) -> None:
    # Its modules take their settings from absl's flags, which nobody defines here.
    sys.path.insert(0, reference)
    flags.FLAGS = SimpleNamespace(**_FLAGS)
    tf.keras.backend.set_floatx("float64")
    # The loss builds its labels and masks in float32 and would not mix with the rest.
    one_hot = tf.compat.v2.one_hot
    tf.compat.v2.one_hot = lambda *a: one_hot(*a, dtype=tf.float64)
    steps = {
        f"{name}/{key}": value
        for name, case in STEP_CASES.items()
        for key, value in _step(case).items()
    }
    np.savez_compressed(out, **steps)


def _step(case: StepCase) -> dict[str, np.ndarray]:
    import lars_optimizer  # type: ignore[import-not-found]
    import objective  # type: ignore[import-not-found]

    model = _model(case)
    image = draw_images(case).astype(np.float64)
    _project(model, image, training=False)
    variables = model.variables
    for i, variable in enumerate(variables):
        drawn = draw_variable(variable.name, tuple(variable.shape), seed=1000 + i)
        variable.assign(drawn.astype(np.float64))
    projection_eval = _project(model, image, training=False)
    with tf.GradientTape() as tape:
        projection_train = _project(model, image, training=True)
        loss, _, _ = objective.add_contrastive_loss(projection_train, temperature=0.1)
    trained = model.trainable_variables
    gradients = tape.gradient(loss, trained)
    moving = [variable.numpy() for variable in variables if not variable.trainable]
    before = [variable.numpy().copy() for variable in trained]
    lars_optimizer.LARSOptimizer(
        0.3,
        momentum=0.9,
        weight_decay=1e-4,
        exclude_from_weight_decay=["batch_normalization", "bias", "head_supervised"],
    ).apply_gradients(zip(gradients, trained, strict=True))
    deltas = [v.numpy() - old for v, old in zip(trained, before, strict=True)]
    return {
        "variables": np.array(
            [f"{v.name}|{'x'.join(map(str, v.shape))}|{int(v.trainable)}" for v in variables]
        ),
        "trainable_names": np.array([variable.name for variable in trained]),
        "projection_eval": projection_eval.numpy(),
        "projection_train": projection_train.numpy(),
        "nt_xent": loss.numpy(),
        "grad_norm": np.array([np.linalg.norm(gradient.numpy()) for gradient in gradients]),
        "moving_after": np.array([np.linalg.norm(values) for values in moving]),
        "lars_delta_norm": np.array([np.linalg.norm(delta) for delta in deltas]),
        "lars_delta_first4": np.stack([delta.ravel()[:4] for delta in deltas]),
    }


def _model(case: StepCase):
    import model  # type: ignore[import-not-found]

    tf.keras.backend.clear_session()
    flags.FLAGS.resnet_depth = case.depth
    flags.FLAGS.width_multiplier = case.width
    flags.FLAGS.sk_ratio = 0.0625 if case.selective_kernels else 0.0
    flags.FLAGS.image_size = 32 if case.stem == "small" else 64
    return model.Model(num_classes=2)


def _project(model, image: np.ndarray, *, training: bool):
    features = model.resnet_model(image, training=training)
    return model._projection_head(features, training)[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
