# SPDX-License-Identifier: AGPL-3.0-or-later
"""The page's panels over a node that only pretends: what it says is shown as it is, what is asked of it is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import pretended_status as pretended
from tests.support.browser import DESKTOP, PHONE, serious_axe_faults
from tests.support.pretended_page import URL, PretendedNode

pytestmark = pytest.mark.soak

VIEWS = ("", "alarms", "cameras", "fleet", "history", "pictures/yolo")
KEY = re.compile(r"\b(alarms?|app|camera|fleet|form|link|model|nav|region|rule|shadow|stage|time)\.[a-z_]+\b")
"""A text that is missing shows as its key."""


@pytest.fixture
def node() -> PretendedNode:
    """What the page talks to."""
    return pretended.make()


@pytest.fixture
def open_view(node: PretendedNode, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Opens a view of the page over the pretended node."""

    def open_one(name: str, **options: Any) -> Any:
        return open_page(f"{URL}#/{name}", prepare=node.attach, **options)

    return open_one


def expect(found: Any) -> Any:
    """Playwright's, which waits."""
    from playwright.sync_api import expect as waiting

    return waiting(found)


@pytest.mark.parametrize("name", VIEWS)
def test_what_would_be_html_is_text(name: str, open_view: Callable[..., Any]) -> None:
    """Scripts in names, versions and reasons are shown, and don't run."""
    page = open_view(name)
    if name != "cameras":
        expect(page.get_by_text("<script>window.hit=1</script>").first).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert page.locator("main img[onerror], main script").count() == 0


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_every_view_in_every_dress(
    size: dict[str, int], scheme: str, locale: str, open_view: Callable[..., Any]
) -> None:
    """Nothing that axe calls serious, nothing wider than the screen, no text missing; in the browser's language."""
    page = open_view("", viewport=size, color_scheme=scheme, locale=locale)
    for name in VIEWS:
        page.evaluate("name => (location.hash = `#/${name}`)", name)
        expect(page.locator("main .card").first).to_be_visible()
        assert serious_axe_faults(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, name
        assert KEY.findall(page.locator("main").inner_text()) == [], name
    assert page.evaluate("document.documentElement.lang") == ("zh-CN" if locale == "zh-CN" else "en")


def test_language_can_be_chosen_and_is_kept(open_view: Callable[..., Any]) -> None:
    """Whatever the browser says."""
    page = open_view("alarms")
    page.get_by_label("Language").select_option("zh")
    expect(page.get_by_role("heading", name="需要处理")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="需要处理")).to_be_visible()


def test_alarm_is_acknowledged_and_put_aside(node: PretendedNode, open_view: Callable[..., Any]) -> None:
    """By somebody with a name and a reason; a critical one is announced over every view but its own."""
    page = open_view("fleet")
    expect(page.get_by_role("alert", name="Critical alarm")).to_contain_text("Camera lost: line-2")
    page.get_by_role("link", name="Look at it").click()
    lost = page.locator("[data-alarm=a2]")
    lost.get_by_role("button", name="I have seen it").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Your name").fill("Ada")
    dialog.get_by_role("button", name="I have seen it").click()
    expect(dialog).to_have_count(0)
    assert node.asked.pop() == ("POST", "api/alarms/a2/ack", {"by": "Ada"})
    page.locator("[data-alarm=a1]").get_by_role("button", name="Put aside").click()
    put_aside = dialog.get_by_role("button", name="Put it aside")
    expect(put_aside).to_have_attribute("aria-disabled", "true")
    dialog.get_by_label("8 hours").check()
    dialog.get_by_label("Reason").fill("a new roller is being fitted")
    put_aside.click()
    expect(dialog).to_have_count(0)
    wanted = {"by": "Ada", "minutes": 480, "reason": "a new roller is being fitted"}
    assert node.asked.pop() == ("POST", "api/alarms/a1/shelve", wanted)


def test_region_is_drawn_by_keyboard_mouse_and_numbers(
    node: PretendedNode, open_view: Callable[..., Any]
) -> None:
    """What is wrong with it is said at once; what is sent are the points that are seen."""
    page = open_view("cameras")
    page.locator("[data-camera=line-1]").get_by_role("button", name="Change").click()
    region = page.get_by_role("group", name="Where").first
    first = region.locator("[data-point='1']")
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    expect(first).to_have_attribute("aria-label", re.compile(r"21 % from the left, 25 % from the top"))
    region.get_by_text("As numbers").click()
    region.get_by_label("Point 1 from the left, per cent").fill("140")
    page.keyboard.press("Tab")
    expect(region.get_by_text("Point 1 lies outside of the picture")).to_be_visible()
    region.get_by_label("Point 1 from the left, per cent").fill("50")
    region.get_by_label("Point 1 from the top, per cent").fill("95")
    page.keyboard.press("Tab")
    expect(region.get_by_text("The region crosses itself")).to_be_visible()
    region.get_by_role("button", name="Begin anew").click()
    expect(region.get_by_text("The region crosses itself")).to_have_count(0)
    picture = region.locator("svg.region-picture")
    picture.scroll_into_view_if_needed()
    box, ring = picture.bounding_box(), region.locator("[data-point='3'] .handle-ring").bounding_box()
    assert min(ring["width"], ring["height"]) > 24
    page.mouse.move(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.9 * box["height"], steps=4)
    page.mouse.up()
    picture.click(position={"x": 0.5 * box["width"], "y": 0.1 * box["height"]})
    expect(region.locator(".handle")).to_have_count(5)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("main").get_by_text("Saved. It counts now.")).to_be_visible()
    method, path, body = node.asked.pop()
    assert (method, path, body["if_revision"]) == ("PUT", "api/pipelines/line-1", "abc")
    points = body["pipeline"]["alarms"][0]["region"]
    assert points == [
        [0.25, 0.25],
        [pytest.approx(0.5, abs=0.01), pytest.approx(0.1, abs=0.01)],
        [0.75, 0.25],
        [pytest.approx(0.9, abs=0.01), pytest.approx(0.9, abs=0.01)],
        [0.25, 0.75],
    ]


def test_mistakes_stand_at_their_fields(node: PretendedNode, open_view: Callable[..., Any]) -> None:
    """All of them at once, and nothing is lost of what was typed."""
    problems = [
        "pipelines[2].name: 'line 3 | x' is not a valid name; allowed: letters",
        "pipelines[2].source.url: is empty; allowed: a URL",
        "pipelines[2].alarms[0].region: crosses itself; allowed: points in order",
    ]
    why = f"3 mistakes: {' | '.join(problems)}"
    error = {"what": "configuration", "why": why, "todo": "correct it", "problems": problems}
    node.on_ask = lambda *_: (422, {"error": error})
    page = open_view("cameras")
    page.get_by_role("button", name="Add a camera").click()
    save = page.get_by_role("button", name="Add the camera")
    expect(save).to_have_attribute("aria-disabled", "true")
    name = page.get_by_label("Name", exact=True)
    name.fill("line 3")
    page.get_by_label("Where the pictures come from").fill(" ")
    page.get_by_role("button", name="Add a rule").click()
    save.click()
    expect(page.get_by_role("main").get_by_role("alert")).to_contain_text("3 mistakes; nothing was changed")
    expect(page.get_by_text("'line 3 | x' is not a valid name; allowed: letters")).to_be_visible()
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_value("line 3")
    expect(page.get_by_text("crosses itself; allowed")).to_be_visible()
    assert serious_axe_faults(page) == []


def test_expired_session_goes_to_the_login_and_back(
    node: PretendedNode, open_view: Callable[..., Any]
) -> None:
    """To the view where one was."""
    page = open_view("alarms")
    expect(page.get_by_role("heading", name="Look at these")).to_be_visible()
    node.is_logged_in = False
    page.wait_for_url("**/login#/alarms")
    assert serious_axe_faults(page) == []
    node.on_ask = lambda *_: (401, {"error": {"what": "login", "why": "the token is wrong", "todo": ""}})
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("The token is wrong.")
    node.on_ask = lambda *_: (200, {})
    node.is_logged_in = True
    page.get_by_label("Token").fill("right")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/#/alarms")
    assert [body for _, path, body in node.asked if path == "login"] == [
        {"token": "wrong"},
        {"token": "right"},
    ]


def test_fleet_and_settings_of_a_model(node: PretendedNode, open_view: Callable[..., Any]) -> None:
    """Waves and silent nodes are seen; a class's confidence is set for a model."""
    page = open_view("fleet")
    expect(page.get_by_role("img", name="Wave 2: 4 of 14 nodes")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("press-12.*silent"))).to_be_visible()
    page.get_by_label("Find a node").fill("press-13")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Cameras").click()
    page.locator("[data-model=yolo]").get_by_role("button", name="Change").click()
    page.get_by_label("scratch", exact=True).fill("0,55")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("main").get_by_text("The settings of yolo count now.")).to_be_visible()
    method, path, body = node.asked.pop()
    assert (method, path) == ("PUT", "api/models/yolo/settings")
    assert body["settings"]["confidence"] == {"scratch": 0.55}


def test_event_counts_over_an_answer_that_is_older(
    node: PretendedNode, open_view: Callable[..., Any]
) -> None:
    """An alarm that is told while the list is on its way isn't forgotten when the list, without it, arrives."""
    last = node.answers["api/alarms"]["alarms"].pop(1)
    node.events.append(("alarm", last))
    page = open_view("alarms")
    expect(page.locator("[data-alarm=a1]")).to_be_visible()
    expect(page.locator("[data-alarm=a2]")).to_be_visible()


def test_chart_keeps_its_place_and_can_be_tried_again(
    node: PretendedNode, open_view: Callable[..., Any]
) -> None:
    """Where its library doesn't come: a sentence, all else as usual; one press draws all charts."""
    node.gone.add("page/vendor/uplot.js")
    page = open_view("")
    failed = page.locator(".chart.failed")
    expect(failed).to_have_count(6)
    expect(failed.first).to_contain_text("The chart couldn't be loaded.")
    heights = "charts => charts.map(chart => chart.offsetHeight)"
    before = page.locator(".chart").evaluate_all(heights)
    assert serious_axe_faults(page) == []
    node.gone.clear()
    failed.first.get_by_role("button", name="Try again").click()
    expect(page.locator(".chart canvas")).to_have_count(6)
    assert page.locator(".chart").evaluate_all(heights) == before
    assert serious_axe_faults(page) == []
