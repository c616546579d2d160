"""Detectors: gain, gamma, offset and noise of each channel. Black stays black.

    level x in [0, 1]   y = gain * x^gamma + offset * min(1, x / SIGNAL)
    noise               y = x + n * sqrt(shot^2 * x + (read * min(1, x / SIGNAL))^2),   n ~ N(0, 1)

Shot noise grows with the square root of the light, as photons are counted; shot = 0.05 are 400
photons at white. Offset and read noise would lift the black around a cell or an eye, which says
where the tissue is: they fade out below SIGNAL.

Shapes: HW3 = rows, columns, RGB.
"""

from collections.abc import Sequence

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SIGNAL", "IntensityJitter", "SensorNoise", "add_noise", "change_intensity"]

SIGNAL = 16 / 255
"""Level above which a pixel is more than background, fraction of white. Chosen here."""

_LEVELS = np.arange(256) / 255.0
_PRESENCE = np.minimum(1.0, _LEVELS / SIGNAL)


def change_intensity(
    image_HW3: NDArray[np.uint8],
    *,
    gain_RGB: Sequence[float],
    gamma_RGB: Sequence[float],
    offset_RGB: Sequence[float],
) -> NDArray[np.uint8]:
    """Map the levels of each channel; gain 1, gamma 1, offset 0 returns the input bit for bit.

    Args:
        image_HW3: RGB tile.
        gain_RGB: factor of each channel.
        gamma_RGB: exponent of each channel, above 0; below 1 brightens.
        offset_RGB: added to what is not background, fraction of white.
    """
    levels = _LEVELS[:, None] ** np.array(gamma_RGB) * gain_RGB + _PRESENCE[:, None] * offset_RGB
    table = np.rint(255.0 * np.clip(levels, 0.0, 1.0)).astype(np.uint8)
    return np.asarray(cv2.LUT(image_HW3, table.reshape(256, 1, 3)), np.uint8)


def add_noise(
    image_HW3: NDArray[np.uint8], normal_HWC: NDArray[np.float32], *, shot: float, read: float
) -> NDArray[np.uint8]:
    """Add shot and read noise.

    Args:
        image_HW3: RGB tile.
        normal_HWC: standard normal numbers, (H, W, 3), or (H, W, 1) for all channels alike.
        shot: standard deviation at white, fraction of white.
        read: standard deviation of what is not background, fraction of white.
    """
    sigma = 255.0 * np.sqrt(shot**2 * _LEVELS + (read * _PRESENCE) ** 2)
    noise_HW3 = np.asarray(cv2.LUT(image_HW3, sigma.astype(np.float32)), np.float32) * normal_HWC
    return np.asarray(cv2.add(image_HW3, noise_HW3, dtype=cv2.CV_8U), np.uint8)


class IntensityJitter(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Jitter gain, gamma and offset (`change_intensity`).

    Gain and gamma are exp(u) with u uniform in [-x, x], so that doubling is as likely as halving;
    offsets are uniform in [-offset, offset].

    Args:
        gain: half width of the logarithm of the gain.
        gamma: half width of the logarithm of gamma.
        offset: largest offset, fraction of white.
        is_shared: whether the three channels get the same draw.
        p: probability of the jitter.
    """

    def __init__(
        self,
        *,
        gain: float = 0.0,
        gamma: float = 0.0,
        offset: float = 0.0,
        is_shared: bool = False,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.gain = gain
        self.gamma = gamma
        self.offset = offset
        self.is_shared = is_shared

    def get_params(self) -> dict[str, object]:
        """Draw for each channel, or once for all."""
        n_draws = 1 if self.is_shared else 3
        draws = self.random_generator.uniform(-1.0, 1.0, size=(3, n_draws)).repeat(3 // n_draws, 1)
        return {
            "gain_RGB": np.exp(self.gain * draws[0]).tolist(),
            "gamma_RGB": np.exp(self.gamma * draws[1]).tolist(),
            "offset_RGB": (self.offset * draws[2]).tolist(),
        }

    def apply(
        self,
        img: NDArray[np.uint8],
        *,
        gain_RGB: list[float],
        gamma_RGB: list[float],
        offset_RGB: list[float],
        **_params: object,
    ) -> NDArray[np.uint8]:
        """Apply what get_params drew."""
        return change_intensity(img, gain_RGB=gain_RGB, gamma_RGB=gamma_RGB, offset_RGB=offset_RGB)


class SensorNoise(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Add noise whose strength is uniform between none and the largest (`add_noise`).

    Args:
        shot: largest shot noise, standard deviation at white, fraction of white.
        read: largest read noise, standard deviation, fraction of white.
        is_shared: whether the three channels get the same noise, so that grey stays grey.
        p: probability of the noise.
    """

    def __init__(
        self, *, shot: float, read: float, is_shared: bool = False, p: float = 0.5
    ) -> None:
        super().__init__(p=p)
        self.shot = shot
        self.read = read
        self.is_shared = is_shared

    def get_params_dependent_on_data(
        self, params: dict[str, object], data: dict[str, NDArray[np.uint8]]
    ) -> dict[str, object]:
        """Draw strength and noise."""
        n_channels = 1 if self.is_shared else 3
        shape = (*data["image"].shape[:2], n_channels)
        return {
            "strength": self.py_random.random(),
            "normal_HWC": self.random_generator.standard_normal(shape, dtype=np.float32),
        }

    def apply(
        self,
        img: NDArray[np.uint8],
        *,
        strength: float,
        normal_HWC: NDArray[np.float32],
        **_params: object,
    ) -> NDArray[np.uint8]:
        """Apply what was drawn."""
        return add_noise(img, normal_HWC, shot=strength * self.shot, read=strength * self.read)
