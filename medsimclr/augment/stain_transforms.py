"""Stain, focus and compression as albumentations transforms, for policies of your own too.

They draw from `self.py_random` and `self.random_generator` alone, as those of `transforms` do.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import ClassVar, TypeVar

import albumentations as A
import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from medsimclr.augment.blur import blur
from medsimclr.augment.color_space import ColorSpace, change_channels
from medsimclr.augment.macenko import SlideStain, tissue_density
from medsimclr.augment.slide_stains import SlideStains
from medsimclr.augment.stain import change_density
from medsimclr.augment.stain_statistics import TemplateStatistics, tissue_moments

__all__ = ["Focus", "StainExchange", "StainSetJitter", "StainTemplate"]

_SLIDES = TypeAdapter(tuple[SlideStain, ...])
_TEMPLATES = TypeAdapter(TemplateStatistics)
_Checked = TypeVar("_Checked")


def _checked(adapter: TypeAdapter[_Checked], value: object) -> _Checked:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}") from error


class StainSetJitter(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Jitter three given stains, each with its own strengths: c' = gain * (c + offset * presence).

    Args:
        stains_to_od: optical density of R, G, B (columns) for one unit of each stain (rows).
        gain_sigma: half width of the factor's range of each stain, at most 1.
        offset_sigma: largest offset of each concentration, natural-log optical density.
        p: probability of the jitter.
    """

    def __init__(
        self,
        *,
        stains_to_od: NDArray[np.float64],
        gain_sigma: Sequence[float],
        offset_sigma: Sequence[float],
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.stains_to_od = np.asarray(stains_to_od, dtype=np.float64)
        self.gain_sigma = np.asarray(gain_sigma, dtype=np.float64)
        self.offset_sigma = np.asarray(offset_sigma, dtype=np.float64)
        self._from_od = np.linalg.inv(self.stains_to_od)

    def get_transform_init_args(self) -> dict[str, object]:
        """Return the arguments as a saved pipeline holds them."""
        names = ("stains_to_od", "gain_sigma", "offset_sigma")
        return {name: getattr(self, name).tolist() for name in names}

    def get_params(self) -> dict[str, object]:
        """Draw a gain and an offset for each stain."""
        draws_23 = self.random_generator.uniform(-1.0, 1.0, size=(2, 3))
        return {
            "gain_3": 1.0 + self.gain_sigma * draws_23[0],
            "offset_3": self.offset_sigma * draws_23[1],
        }

    def apply(
        self,
        img: NDArray[np.uint8],
        *,
        gain_3: NDArray[np.float64],
        offset_3: NDArray[np.float64],
        **_params: object,
    ) -> NDArray[np.uint8]:
        """Apply what get_params drew."""
        if np.all(gain_3 == 1.0) and not offset_3.any():
            return img.copy()
        matrix = (self._from_od * gain_3) @ self.stains_to_od
        return change_density(img, matrix=matrix, shift_RGB=offset_3 @ self.stains_to_od)


class StainExchange(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Show a tile in the stains of another slide, or of a mixture of its own and that one's.

    Its own slide is guessed from its colours (`SlideStains.likeliest`); the other slide is
    drawn, all equally likely, and the share of its stains uniformly from 0 to `share_max`. A tile
    with hardly any tissue stays as it is.

    Args:
        slides: stains of the slides.
        share_max: largest share; above 1 exaggerates the difference.
        p: probability of the exchange.
    """

    _tissue_pixels_min: ClassVar[int] = 16

    def __init__(self, *, slides: Sequence[SlideStain], share_max: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        # A saved pipeline has them as dictionaries; so with the templates below.
        self.slides = _checked(_SLIDES, slides)
        self.share_max = share_max
        self._stains = SlideStains(self.slides)

    def get_transform_init_args(self) -> dict[str, object]:
        """Return the arguments as a saved pipeline holds them."""
        return {"slides": [asdict(slide) for slide in self.slides], "share_max": self.share_max}

    def get_params(self) -> dict[str, object]:
        """Draw the other slide and the share of its stains."""
        return {
            "target": int(self.random_generator.integers(len(self._stains))),
            "share": self.py_random.uniform(0.0, self.share_max),
        }

    def apply(
        self, img: NDArray[np.uint8], *, target: int, share: float, **_params: object
    ) -> NDArray[np.uint8]:
        """Guess the tile's slide from about a thousand pixels and apply what get_params drew."""
        step = max(1, round((img.shape[0] * img.shape[1] / 1024) ** 0.5))
        od_N3 = tissue_density(img[::step, ::step].reshape(-1, 3))
        if share == 0.0 or len(od_N3) < min(self._tissue_pixels_min, img[::step, ::step, 0].size):
            return img.copy()
        whole = self._stains.exchange_matrix(self._stains.likeliest(od_N3), target)
        matrix = np.eye(3) + share * (whole - np.eye(3))
        return change_density(img, matrix=matrix, shift_RGB=np.zeros(3))


class StainTemplate(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Give the tissue of a tile the mean and spread of a random template (RandStainNA).

    A colour space is drawn, then mean and standard deviation of each channel from the normal
    distributions fitted over slides. Factors are kept between 1/2 and 2: a tile of nearly one
    colour would else be stretched until its noise is contrast. A tile with hardly any tissue stays.

    Args:
        statistics: distributions over slides.
        spaces: colour spaces to draw from, equally likely.
        strength: share of the way to the template; 1 reaches it.
        p: probability of the change.
    """

    def __init__(
        self,
        *,
        statistics: TemplateStatistics,
        spaces: Sequence[ColorSpace],
        strength: float = 1.0,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.statistics = _checked(_TEMPLATES, statistics)
        self.spaces = tuple(spaces)
        self.strength = strength

    def get_transform_init_args(self) -> dict[str, object]:
        """Return the arguments as a saved pipeline holds them."""
        return {
            "statistics": asdict(self.statistics),
            "spaces": self.spaces,
            "strength": self.strength,
        }

    def get_params(self) -> dict[str, object]:
        """Draw the colour space and six standard normal numbers."""
        return {
            "space": self.py_random.choice(self.spaces),
            "normal_23": self.random_generator.standard_normal((2, 3)),
        }

    def apply(
        self,
        img: NDArray[np.uint8],
        *,
        space: ColorSpace,
        normal_23: NDArray[np.float64],
        **_params: object,
    ) -> NDArray[np.uint8]:
        """Measure the tile's tissue and bring it to the template that was drawn."""
        moments = tissue_moments(img, space) if self.strength > 0.0 else None
        if moments is None:
            return img.copy()
        mean_3, std_3 = moments
        over_slides = getattr(self.statistics, space)
        template_mean_3 = over_slides.mean_center + normal_23[0] * over_slides.mean_spread
        template_std_3 = over_slides.std_center + normal_23[1] * over_slides.std_spread
        # As a power, twice the strength is no contrast of 0 where the template has half of it.
        gain_3 = np.clip(template_std_3 / np.maximum(std_3, 1e-6), 0.5, 2.0) ** self.strength
        offset_3 = mean_3 + self.strength * (template_mean_3 - mean_3) - gain_3 * mean_3
        return change_channels(img, space=space, gain=gain_3.tolist(), offset=offset_3.tolist())


class Focus(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is untyped
    """Take a tile out of focus or sharpen it, as scanners and their software differ.

    One number is drawn uniformly from -1 to 1. Below 0 it is the share of `blur_sigma_px` by which
    the tile is blurred; above 0 it is the share of `sharpen` that is added of what a blur of
    1 px takes away (unsharp mask).

    Args:
        blur_sigma_px: largest standard deviation of the Gaussian, pixels of the view.
        sharpen: largest amount of the unsharp mask.
        p: probability of either.
    """

    def __init__(self, *, blur_sigma_px: float, sharpen: float, p: float = 0.5) -> None:
        super().__init__(p=p)
        self.blur_sigma_px = blur_sigma_px
        self.sharpen = sharpen

    def get_params(self) -> dict[str, object]:
        """Draw the focus."""
        return {"focus": self.py_random.uniform(-1.0, 1.0)}

    def apply(
        self, img: NDArray[np.uint8], *, focus: float, **_params: object
    ) -> NDArray[np.uint8]:
        """Apply what get_params drew."""
        sigma_px, amount = -focus * self.blur_sigma_px, focus * self.sharpen
        # Below a fifth of a pixel a Gaussian changes no byte, but taps are computed.
        if sigma_px > 0.2:
            return blur(img, sigma_px=sigma_px, radius_px=max(img.shape))
        if amount <= 0.0:
            return img.copy()
        blurred_HW3 = blur(img, sigma_px=1.0, radius_px=max(img.shape))
        sharpened_HW3 = cv2.addWeighted(img, 1.0 + amount, blurred_HW3, -amount, 0.0)
        return np.asarray(sharpened_HW3, dtype=np.uint8)
