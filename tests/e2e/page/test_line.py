# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a person does at the page of a real node: versions are judged, taken and taken back, cameras go, alarms come."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing import wait_for
from tests.support.browser import serious_axe_faults
from tests.support.etcd import free_port
from tests.support.mjpeg import MjpegCamera
from tests.support.page_line import PageLine
from tests.support.weights import nan_onnx

pytestmark = pytest.mark.soak

JUDGE = {"pace": {"least_fps": 4, "first_fps": 6, "most_fps": 8, "slower": 100}}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[PageLine]:
    """A node that plays a film, with v1; not started."""
    with PageLine(tmp_path / "node") as made:
        made.publish_finding("v1")
        made.promote("v1")
        yield made
        made.look_at_log()


@pytest.fixture
def looked_at(node: PageLine, open_page: Callable[..., Any]) -> Callable[..., Any]:
    """Starts the node and opens its page."""

    def start(**options: Any) -> Any:
        node.start("v1")
        return open_page(node.url, **options)

    return start


def expect(found: Any) -> Any:
    """Playwright's, which waits."""
    from playwright.sync_api import expect as waiting

    return waiting(found)


def of_model(page: Any) -> Any:
    """The card of the model."""
    return page.get_by_role("complementary", name="Model yolo")


def serving(page: Any) -> Any:
    """The version that serves, large."""
    return of_model(page).locator(".serving-version").first


def confirm(page: Any, verb: str) -> None:
    """Say yes in a dialog, under a name."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Your name").fill("Ada")
    dialog.get_by_role("button", name=verb).click()
    expect(dialog).to_have_count(0)


def test_shadow_is_seen_approved_and_rolled_back(node: PageLine, looked_at: Callable[..., Any]) -> None:
    """Stages as they come, what both versions found, the pictures on which they differ, and back again."""
    node.config["update"] |= {"judge": JUDGE, "disagreements": {"apart_seconds": 0.5, "min_free_bytes": 0}}
    node.publish("v2", boxes=[(20.0, 24.0, 14.0, 14.0, 0.9, 0), (8.0, 50.0, 12.0, 12.0, 0.8, 0)])
    page = looked_at()
    page.evaluate("""() => {
        window.stages = new Set();
        const look = () => document.querySelectorAll('[data-stage]').forEach(e => stages.add(e.dataset.stage));
        new MutationObserver(look).observe(document.body, {subtree: true, childList: true, attributes: true});
    }""")
    terms = {"approval": "manual", "probation": {"seconds": 600}, "classes": "same"}
    node.promote(json.dumps({"version": "v2", **terms}))
    model = of_model(page)
    approve = model.get_by_role("button", name="Approve v2")
    expect(approve).to_be_visible()
    assert "SHADOW" in page.evaluate("[...stages]")
    expect(model.get_by_text(re.compile(r"\d+ frames, \d+ objects")).first).to_be_visible()

    model.get_by_role("link", name="Pictures on which versions differ").click()
    expect(page.get_by_text("v2 sees the same frames as v1")).to_be_visible()
    picture = page.locator(".difference img").first
    expect(picture).to_be_visible()
    wait_for(lambda: picture.evaluate("image => image.naturalWidth > 100"), "a picture on which they differ")
    page.locator(".difference button").first.click()
    expect(page.get_by_role("dialog").get_by_role("img")).to_be_visible()
    assert serious_axe_faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Lines").first.click()

    approve.click()
    expect(page.get_by_role("dialog")).to_contain_text("v2 takes the place of v1 from the next frame on")
    confirm(page, "Approve v2")
    expect(serving(page)).to_contain_text("v2")
    model.get_by_role("button", name="Roll back to v1").click()
    expect(page.get_by_role("dialog")).to_contain_text("v1 takes the place of v2 on line-1 at once")
    confirm(page, "Roll back to v1")
    expect(serving(page)).to_contain_text("v1")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("Rolled back from v2 to v1.").first).to_be_visible()
    expect(page.get_by_text("v2 was approved.").first).to_be_visible()
    assert node.wait_history("approved", "v2")["who"].startswith("Ada from")


def test_refusal_of_a_bad_version_is_said_in_words(node: PageLine, looked_at: Callable[..., Any]) -> None:
    """With what to do, and the line goes on."""
    node.publish("bad", nan_onnx(node.folder / "bad.onnx"))
    page = looked_at()
    of_model(page).get_by_role("button", name="Promote a version").click()
    page.get_by_role("dialog").get_by_role("radio", name=re.compile("bad")).check()
    confirm(page, "Promote bad")
    said = of_model(page).locator(".note", has_text="bad was refused")
    expect(said).to_contain_text(node.wait_history("rejected", "bad")["why"])
    expect(said).to_contain_text("What to do:")
    expect(serving(page)).to_contain_text("v1")
    assert serious_axe_faults(page) == []
    page.get_by_role("link", name=re.compile("^Alarms")).click()
    expect(page.get_by_role("heading", name=re.compile("Version refused"))).to_be_visible()


def test_camera_is_lost_and_comes_back_and_an_alarm_is_acknowledged(
    node: PageLine, looked_at: Callable[..., Any]
) -> None:
    """The page says it over every view; who has seen it is known to the node; then it is over."""
    node.config["alarms"] = {"camera_lost": {"after_seconds": 0}}
    rule = {"name": "scratch-seen", "classes": ["scratch"], "severity": "info", "clip": {"after": 1}}
    with MjpegCamera(fps=8) as camera:
        source = {"url": camera.url, "stall_seconds": 5}
        node.config["pipelines"][0] |= {"source": source, "alarms": [rule]}
        page = looked_at()
        line = page.get_by_role("article", name="Line line-1")
        expect(line.get_by_text("Running")).to_be_visible()
        camera.stop()
        expect(line.get_by_text(re.compile("Camera (lost|can't be reached)")).first).to_be_visible()
        expect(page.get_by_role("alert", name="Critical alarm")).to_contain_text("Camera lost: line-1")
        page.get_by_role("link", name="Look at it").click()
        lost = page.locator("[data-alarm]", has_text="Camera lost")
        lost.get_by_role("button", name="I have seen it").click()
        confirm(page, "I have seen it")
        expect(page.locator("[data-alarm][data-state=acknowledged]")).to_contain_text("seen by Ada from")
        camera.start()
        expect(page.locator("[data-alarm][data-state=cleared]", has_text="Camera lost")).to_be_visible()
        seen = page.locator("[data-alarm]", has_text="scratch-seen").first
        expect(seen.locator("img")).to_be_visible()
        wait_for(lambda: seen.locator("img").evaluate("i => i.naturalWidth > 100"), "a picture of the alarm")
        assert serious_axe_faults(page) == []
        page.get_by_role("link", name="Lines").click()
        expect(line.get_by_text("Running")).to_be_visible()


def test_node_restarted_under_an_open_page(node: PageLine, looked_at: Callable[..., Any]) -> None:
    """The page says that there is no answer, and comes back by itself."""
    node.config["api"]["port"] = free_port()
    page = looked_at()
    picture = page.get_by_role("article", name="Line line-1").locator("figure img")
    expect(picture).not_to_have_class("unshown")
    node.stop()
    expect(page.get_by_text("The node doesn't answer.").first).to_be_visible()
    expect(of_model(page).get_by_text("The node doesn't answer.").first).to_be_visible()
    node.start("v1")
    expect(page.get_by_text("The page is up to date again.").first).to_be_visible()
    expect(page.locator(".banner")).to_have_count(0)
    expect(picture).not_to_have_class("unshown")


def test_login_and_a_session_that_ended(
    node: PageLine, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    """Pictures and events come with the session; when it is over, the page goes to the login and back."""
    token = tmp_path / "token"
    token.write_text("open-sesame-open-sesame-open-sesame")
    token.chmod(0o600)
    node.config["api"] |= {"token_file": str(token), "port": free_port()}
    node.start()
    page = open_page(node.url)
    page.wait_for_url("**/login")
    assert serious_axe_faults(page) == []
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("The token is wrong.")
    page.get_by_label("Token").fill(token.read_text())
    page.get_by_role("button", name="Log in").click()
    picture = page.get_by_role("article", name="Line line-1").locator("figure img")
    expect(picture).not_to_have_class("unshown")
    page.get_by_role("link", name=re.compile("^Alarms")).click()
    page.context.clear_cookies()
    page.reload()
    page.wait_for_url("**/login#/alarms")
    page.get_by_label("Token").fill(token.read_text())
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/#/alarms")


def test_camera_is_added_changed_and_removed_while_another_runs(
    node: PageLine, looked_at: Callable[..., Any]
) -> None:
    """Mistakes stand at their fields; what is right counts at once, and the other line loses nothing."""
    node.config["api"]["changes"] = {"allow": True, "folders": [str(node.folder)]}
    page = looked_at()
    page.get_by_role("link", name="Cameras").click()
    page.get_by_role("button", name="Add a camera").click()
    page.get_by_label("Name", exact=True).fill("line 2")
    page.get_by_label("Where the pictures come from").fill("/etc/passwd")
    save = page.get_by_role("button", name="Add the camera")
    save.click()
    expect(page.get_by_text("'line 2' is not a valid name")).to_be_visible()
    expect(page.get_by_text("is a file of this machine; allowed through the API")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("line-2")
    page.get_by_label("Where the pictures come from").fill(str(node.folder / "film.mp4"))
    page.get_by_label("Frames per second").fill("4")
    page.get_by_label("Again from the start at its end").check()
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_role("group", name="Where").get_by_role("button", name="A part of it").click()
    save.click()
    expect(page.get_by_role("main").get_by_text("Saved. It counts now.")).to_be_visible()
    camera = page.locator("[data-camera=line-2]")
    expect(camera.get_by_text("Running")).to_be_visible()
    wait_for(lambda: node.status()["pipelines"]["line-2"]["frames"] > 3, "frames of the new camera")
    camera.get_by_role("button", name="Change").click()
    picture = page.get_by_role("group", name="Where").locator("svg image")
    wait_for(lambda: picture.evaluate("i => i.getBBox().width > 100"), "a snapshot to draw on")
    page.get_by_label("Confidence", exact=True).fill("0.8")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("main").get_by_text("Saved. It counts now.")).to_be_visible()
    page.locator("[data-model=yolo]").get_by_role("button", name="Change").click()
    page.get_by_label("scratch", exact=True).fill("0.95")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("main").get_by_text("The settings of yolo count now.")).to_be_visible()
    wait_for(lambda: not node.wait_more(1)[-1]["detections"], "a record without what is not sure enough")
    camera.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("dialog")).to_contain_text("line-2 stops at once")
    confirm(page, "Remove")
    expect(camera).to_have_count(0)
    wait_for(lambda: list(node.status()["pipelines"]) == ["line-1"], "the camera gone")
    assert node.status()["pipelines"]["line-1"]["dropped_by"].get("failed", 0) == 0
    assert node.config_path.with_name(node.config_path.name + ".1").exists()
