"""`python -m medsimclr`: how torchrun starts each process."""

from medsimclr.cli.main import main

__all__ = []

if __name__ == "__main__":
    main()
