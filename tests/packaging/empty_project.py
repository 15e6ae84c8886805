"""Run where only the wheel is installed: it is complete, and an empty project takes it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import django_bgtasks

SOURCE = Path(__file__).parents[2] / "django_bgtasks"
INSTALLED = Path(django_bgtasks.__path__[0])


def main() -> None:
    """Compare the files, then start a project, add the app, check and migrate."""
    if missing := files_of(SOURCE) - files_of(INSTALLED):
        sys.exit(f"Not in the wheel: {', '.join(sorted(map(str, missing)))}")
    with tempfile.TemporaryDirectory() as directory:
        run("-m", "django", "startproject", "site1", directory)
        settings = Path(directory) / "site1" / "settings.py"
        with settings.open("a") as file:
            file.write('\nINSTALLED_APPS += ["django_bgtasks"]\n')
        for command in ("check", "migrate", "makemigrations --check django_bgtasks"):
            run(str(Path(directory) / "manage.py"), *command.split())


def files_of(package: Path) -> set[Path]:
    """The files of a package, relative to it."""
    return {
        path.relative_to(package)
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def run(*arguments: str) -> None:
    """Run Python, and fail if it does."""
    subprocess.run([sys.executable, *arguments], check=True)


if __name__ == "__main__":
    main()
