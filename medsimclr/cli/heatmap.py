"""`medsimclr heatmap`."""

from medsimclr.cli.console import print_json, print_lines
from medsimclr.cli.options import build_command
from medsimclr.config.heatmap import HeatmapConfig

__all__ = ["command"]


def _run(config: HeatmapConfig, as_json: bool) -> None:
    from medsimclr.report.slide_pictures import draw_heatmap

    draw_heatmap(config)
    if as_json:
        print_json({"picture": str(config.out)})
    else:
        print_lines([f"written: {config.out}"])


command = build_command(HeatmapConfig, _run)
