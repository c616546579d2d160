"""Configuration of `medsimclr datasets`."""

from medsimclr.config.base import CommandConfig

__all__ = ["DatasetsConfig"]


class DatasetsConfig(CommandConfig):
    """List the data sets that this package describes: source, licence, classes, splits."""
