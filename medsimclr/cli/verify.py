"""`medsimclr verify`."""

from medsimclr.cli.console import print_json, print_lines, show_progress
from medsimclr.cli.options import build_command
from medsimclr.config.verify import VerifyConfig
from medsimclr.errors import IntegrityError

__all__ = ["command"]


def _run(config: VerifyConfig, as_json: bool) -> None:
    from medsimclr.store.shard_reader import repair_advice
    from medsimclr.store.verify import verify_store
    from medsimclr.tiling.repair import Repair, repair

    with show_progress("verifying") as progress:
        found = verify_store(config.store, progress=progress)
    done = repair(config, found) if config.repair else Repair()
    left = [name for name in found.damaged_slides if name not in done.mended]
    if as_json:
        record = {**vars(found), "damages": [vars(damage) for damage in found.damages]}
        print_json({**record, "mended": done.mended, "not_mended": done.failed})
    else:
        print_lines([str(damage) for damage in found.damages])
        print_lines(
            [
                f"{config.store}: {found.n_tiles} tiles of {found.n_slides} slides in "
                f"{found.n_files} files; {len(found.damages)} files damaged"
            ]
        )
        print_lines([f"mended {name}: {len(files)} files" for name, files in done.mended.items()])
        print_lines([f"not mended {name}: {why}" for name, why in done.failed.items()])
    if left:
        raise IntegrityError(
            f"{len(left)} of {found.n_slides} slides in {str(config.store)!r} are damaged; "
            f"{repair_advice(config.store)}. `medsimclr tile` again finishes one that never was."
        )


command = build_command(VerifyConfig, _run)
