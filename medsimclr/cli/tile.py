"""`medsimclr tile`."""

from medsimclr.cli.console import print_json, print_lines, show_progress
from medsimclr.cli.options import build_command
from medsimclr.config.tile import TileConfig
from medsimclr.errors import PartlyDoneError

__all__ = ["command"]


def _run(config: TileConfig, as_json: bool) -> None:
    from medsimclr.tiling.tile import tile

    with show_progress("tiling") as progress:
        report = tile(config, progress=progress)
    if as_json:
        print_json(report.record())
    else:
        n_written, n_kept = sum(report.written.values()), sum(report.kept.values())
        if config.dry_run:
            print_lines([f"would tile {name}" for name in report.planned])
        else:
            print_lines([f"{name}: {n} tiles" for name, n in sorted(report.written.items())])
            print_lines(
                [
                    f"{config.out}: {n_written} tiles of {len(report.written)} slides written"
                    + (f", {n_kept} of {len(report.kept)} were there already" if n_kept else "")
                ]
            )
        print_lines([f"note: {note}" for note in report.notes])
        print_lines([f"refused {name}: {why}" for name, why in sorted(report.failed.items())])
    if config.preview is not None and not config.dry_run:
        from medsimclr.report.slide_preview import draw_previews
        from medsimclr.store.reader import TileStore

        pictures = draw_previews(
            TileStore(config.out), config.preview, only={*report.written, *report.kept}
        )
        print_lines([f"{len(pictures)} pictures in {config.preview}"] if not as_json else [])
    if report.failed:
        raise PartlyDoneError(
            f"{len(report.failed)} slides were refused, for the reasons in the report; the other "
            f"{len(report.written) + len(report.kept)} are in {str(config.out)!r}."
        )


command = build_command(TileConfig, _run)
