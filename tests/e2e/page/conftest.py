# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fixtures of the page's tests: a browser a module, and a page whose scripts must raise nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.browser import DESKTOP, PATIENCE_MS, Faults, headless_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, headless."""
    with headless_chromium() as made:
        yield made


PAGES = pytest.StashKey[list[Any]]()


@pytest.fixture
def open_page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens a URL in a page of its own, without cookies; options are those of a browser context. prepare: called with
    the context first.

    At the end no script of any page may have raised.
    """
    contexts, all_faults = [], []
    pages = request.node.stash[PAGES] = []

    def open_url(url: str, prepare: Callable[[Any], None] | None = None, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-GB", **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if prepare:
            prepare(context)
        page = context.new_page()
        pages.append(page)
        all_faults.append(Faults(page))
        page.goto(url)
        return page

    yield open_url
    seen = [fault for faults in all_faults for fault in faults.seen]
    for context in contexts:
        context.close()  # what a page that goes away can't fetch any more is no fault
    assert seen == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """When a test fails, a picture of each of its pages lies in its folder."""
    report = yield
    if report.when == "call" and report.failed and "tmp_path" in item.funcargs:
        for number, page in enumerate(item.stash.get(PAGES, [])):
            page.screenshot(path=item.funcargs["tmp_path"] / f"page-{number}.png", full_page=True)
    return report
