"""`medsimclr datasets`."""

from medsimclr.cli.console import print_json, print_lines
from medsimclr.cli.options import build_command
from medsimclr.config.datasets import DatasetsConfig

__all__ = ["command"]


def _run(config: DatasetsConfig, as_json: bool) -> None:
    from medsimclr.manifest import read_manifests

    manifests = read_manifests()
    if as_json:
        print_json({name: manifest.model_dump(mode="json") for name, manifest in manifests.items()})
        return
    for name, manifest in manifests.items():
        print_lines([f"{name}: {manifest.title}; {manifest.licence}", f"  {manifest.tile_command}"])


command = build_command(DatasetsConfig, _run)
