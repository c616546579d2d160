"""The runs that are made to fail: small slides, a small image folder, and what they become."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tifffile
from PIL import Image

from tests.faults.harness import Control, Fault, Outcome, Warm, build_shim, snapshot
from tests.references.pyramid import noise_levels, write_pyramid

_TILE_PX = 32
_LARGE_TILE_PX = 448
_N_RIGS = 2
# Slide a: six tiles in two shards. Slide b: one JPEG tile, which is copied as it is.
_SIZE_A_XY = (96, 64)
_PIXELS_PER_CM = (2e4, 2e4)


@dataclass
class Rig:
    """A control file, a process that obeys it, and the folder in which the run writes."""

    control: Control
    warm: Warm
    out: Path

    def start(self, job: "Job") -> None:
        """Make the output folder what it is before the job."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(job.before, self.out, symlinks=True)

    def run(
        self,
        job: "Job",
        fault: Fault = Fault.NONE,
        n: int = 0,
        *,
        reads_below: Path | None = None,
    ) -> Outcome:
        """Run the job with a fault at its `n`-th write, or at its `n`-th read below a folder."""
        self.control.arm(reads_below or self.out, fault, n, reads=reads_below is not None)
        (outcome,) = self.warm.run(self.command(job))
        self.control.disarm()
        return outcome

    def command(self, job: "Job") -> list[object]:
        """Return the words of the job, into this folder."""
        return [*job.words, "--out", self.out / "s.zarr"]


@dataclass
class Job:
    """A command, the folder that it starts from, and what it leaves and does without a fault."""

    words: list[object]
    before: Path
    after: dict[str, bytes | str] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    old: dict[str, bytes | str] = field(default_factory=dict)

    @property
    def slides(self) -> set[str]:
        """Folders of the finished store's slides, below the output."""
        return {
            name.rpartition("/")[0]
            for name in self.after
            if name.endswith("/zarr.json") and name.count("/") == 2
        }


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """Return the compiled fault.c."""
    return build_shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Return a folder with `slides`, `images` and `large` images."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("slides", "images", "large"):
        (folder / name).mkdir()
    write_pyramid(
        folder / "slides" / "a.tiff", noise_levels(_SIZE_A_XY), pixels_per_cm_xy=_PIXELS_PER_CM
    )
    (pixels,) = noise_levels((_TILE_PX, _TILE_PX))
    tifffile.imwrite(
        folder / "slides" / "b.tiff",
        pixels,
        tile=(_TILE_PX, _TILE_PX),
        photometric="rgb",
        compression="jpeg",
        resolution=_PIXELS_PER_CM,
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    Image.fromarray(pixels).save(folder / "images" / "c.png")
    # Two tiles, more than what is buffered before it is written.
    (pixels,) = noise_levels((2 * _LARGE_TILE_PX, _LARGE_TILE_PX))
    Image.fromarray(pixels).save(folder / "large" / "d.png")
    for name in ("images", "large"):
        (image,) = (folder / name).glob("*.png")
        (folder / name / "labels.csv").write_text(f"image,label\n{image.name},tumor\n")
    return folder


@pytest.fixture(scope="session")
def rigs(tmp_path_factory, shim):
    """Return one rig for each of two processors."""
    made = []
    for i in range(_N_RIGS):
        folder = tmp_path_factory.mktemp(f"rig_{i}").resolve()
        control = Control(folder, shim)
        made.append(Rig(control, Warm(folder, control), folder / "out"))
    yield made
    for rig in made:
        rig.warm.close()


@pytest.fixture(scope="session")
def rig(rigs):
    """Return one of the rigs."""
    return rigs[0]


def _without_fault(rig: Rig, job: Job) -> Job:
    """Run the job undisturbed and note what it does and leaves."""
    rig.start(job)
    job.old = snapshot(rig.out)
    outcome = rig.run(job)
    assert outcome.code == 0, outcome.output
    job.after, job.log = snapshot(rig.out), rig.control.log
    return job


@pytest.fixture(scope="session")
def jobs(rig, inputs, tmp_path_factory) -> dict[str, Job]:
    """Return the jobs by name."""
    tile = ["tile", "--tile-px", _TILE_PX]
    slides = [*tile, "--mpp", "0.5", "--min-tissue", "0", "--set", "shard_tiles=4"]
    empty, killed, full = (tmp_path_factory.mktemp(name) for name in ("empty", "killed", "full"))
    found = {"slides": _without_fault(rig, Job([*slides, inputs / "slides"], empty))}
    shutil.copytree(rig.out, killed, dirs_exist_ok=True)
    (killed / "s.zarr" / "b" / "zarr.json").rename(killed / "s.zarr" / "b" / "zarr.json.partial")
    (killed / "s.zarr" / "zarr.json.partial").write_text("{")
    found["resume"] = _without_fault(rig, Job([*slides, inputs / "slides"], killed))
    found["images"] = _without_fault(rig, Job([*tile, inputs / "images"], empty))
    shutil.copytree(rig.out, full, dirs_exist_ok=True)
    overwrite = [*tile, "--codec", "raw", "--overwrite", inputs / "images"]
    large = ["tile", "--tile-px", _LARGE_TILE_PX, "--codec", "raw", inputs / "large"]
    found["large"] = _without_fault(rig, Job(large, empty))
    found["overwrite"] = _without_fault(rig, Job(overwrite, full))
    return found
