"""axe-core's rules of accessibility on a page, as far as the page is ours."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# What may differ from one look of the same page to another.
OF_LOOKS = ("color-contrast", "meta-viewport", "scrollable-region-focusable")
# What Django's own pages have as well, and why: test_accessibility.py looks whether they still do.
DJANGOS_OWN = {"#searchbar": "a search with a help text has a picture as its label"}
# A color on its way to another one is no color of the page.
TRANSITIONS = """() => Promise.allSettled(document.getAnimations()
    .filter((animation) => animation instanceof CSSTransition)
    .map((animation) => animation.finished)).then(() => null)"""


def violations(page: Page, *rules: str, exclude: Any = tuple(DJANGOS_OWN)) -> list[str]:
    """Where the page breaks a rule: one line for each place. rules: these only."""
    page.evaluate(TRANSITIONS)
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    found = Axe().run(page, {"exclude": [[place] for place in exclude]}, options)
    return [
        f"{broken['id']}: {broken['help']}: {node['target']} {node['html'][:200]}"
        for broken in found.response["violations"]
        for node in broken["nodes"]
    ]
