"""The commands in the documents exist, with these options."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser

import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from rq.cli.cli import main as rq_main

from .markdown import PAGES, ROOT, Block, blocks_of

EXAMPLES = [block for page in PAGES for block in blocks_of(page) if block.kind != "test"]
MANAGE = re.compile(r"manage\.py[\"', ]+(.*)")
CONSOLES = [block for block in EXAMPLES if block.kind == "console"]
OTHERS = {"django-admin", "export", "systemctl"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

CHECKOUT = "../django-tasks"
EXTRAS = [[f"{PROJECT['name']}[{extra}]"] for extra in PROJECT["optional-dependencies"]]


@pytest.mark.parametrize("block", CONSOLES, ids=str)
def test_a_console_block_names_programs_that_are_known(block: Block) -> None:
    for words in commands_of(block):
        assert words[0] in {"pip", "python", "rq", "tox", *OTHERS}, words


@pytest.mark.parametrize("block", [b for b in EXAMPLES if MANAGE.search(b.text)], ids=str)
def test_a_management_command_takes_these_options(block: Block) -> None:
    for line in MANAGE.findall(block.text):
        name, *arguments = shlex.split(re.sub(r"[\"',\]]+", " ", line))
        # An example may have a database more than this site.
        arguments = ["default" if word == "jobs" else word for word in arguments]
        command = load_command_class(get_commands()[name], name)
        assert isinstance(command, BaseCommand)
        command.create_parser("manage.py", name).parse_args(arguments)


@pytest.mark.parametrize("block", CONSOLES, ids=str)
def test_rq_tox_and_pip_are_called_as_they_can_be(block: Block) -> None:
    for program, *arguments in commands_of(block):
        if program == "rq":
            rq_main.commands[arguments[0]].make_context(arguments[0], arguments[1:])
        elif program == "tox" and arguments:
            assert arguments[:2] == ["run", "-e"]
            assert f"testenv:{arguments[2]}" in tox_sections()
            known: list[list[str]] = [[], ["--", "--serve"], ["--", "--minutes", "10"]]
            known.append(["--", "--backport", CHECKOUT])
            assert arguments[3:] in known
        elif program == "pip":
            assert arguments[0] == "install"
            assert arguments[1:] in (["tox"], ["django"], [PROJECT["name"]], *EXTRAS)


def commands_of(block: Block) -> Iterator[list[str]]:
    """The words of each command that is typed behind a prompt."""
    for line in re.findall(r"^\$ (.+)$", block.text, re.MULTILINE):
        for command in line.split(" && "):
            yield shlex.split(command, comments=True)


def tox_sections() -> list[str]:
    """The environments of tox.ini."""
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    return parser.sections()
