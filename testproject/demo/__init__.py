"""The site at work, in one command: `python -m testproject.demo`, with `--serve` to stay."""
