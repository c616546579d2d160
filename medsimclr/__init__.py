"""Whole-slide images to a validated tile classifier: SimCLRv2 and honest evaluation."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("medsimclr")
