"""From how many patients or slides the tiles of a batch are drawn, as `patients=2` says it."""

import re
from dataclasses import dataclass
from typing import Literal, cast

__all__ = ["BatchFrom", "Origin", "parse_batch_from"]

Origin = Literal["patients", "slides"]


@dataclass(frozen=True)
class BatchFrom:
    """So many patients, or slides, give a batch its tiles."""

    n: int
    origin: Origin

    def __str__(self) -> str:
        return f"{self.origin}={self.n}"


def parse_batch_from(text: str, *, batch_size: int) -> BatchFrom:
    """Read patients=K or slides=K; each gives batch_size / K tiles.

    Raises:
        ValueError: it says something else, or K has no equal shares in the batch.
    """
    found = re.fullmatch(r"(patients|slides)=([1-9][0-9]{0,8})", text)
    if found is None:
        raise ValueError(
            "--batch-from must be patients=K or slides=K, K a whole number from 1 on, got "
            f"{text!r}; leave it out to draw each batch from all"
        )
    wanted = BatchFrom(n=int(found[2]), origin=cast(Origin, found[1]))
    if batch_size % wanted.n:
        raise ValueError(
            f"--batch-from must have a K that divides the --batch-size of {batch_size}, got "
            f"{text!r}; change one of the two"
        )
    return wanted
