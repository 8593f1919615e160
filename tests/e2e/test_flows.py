"""What people do, clicked in a real browser: nothing is lost by reloads, restarts and second tabs."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import PATIENCE_MS, Site, Visit, wait_in
from tests.support.platform import drawn_images

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


SHOWN_STEPS = 200
"""Rows at most of the table below a chart, the newest."""


def shown_steps(page: Page, title: str = "Loss") -> list[str]:
    """The steps of the training's line in the table below a chart."""
    chart = page.locator("figure.chart").filter(has=page.get_by_role("heading", name=title, exact=True))
    if not chart.locator("table").count():
        chart.locator("summary").click()
        chart.get_by_role("button", name="Table").click()
    return chart.locator("table[data-metric^=train]").first.locator("td:first-child").all_inner_texts()


def wait_until_ended(page: Page, word: str = "Succeeded", *, within_ms: int = 90_000) -> None:
    expect(page.locator("header .badge")).to_have_text(word, timeout=within_ms)


def cancel(site: Site, job: str, page: Page) -> None:
    """Ends a job that would go on for hours, so that it runs for as long as a slow machine needs."""
    site.http.post(f"/v1/jobs/{job}:cancel", json={}).raise_for_status()
    wait_until_ended(page, "Cancelled")


def chart_label(page: Page) -> str:
    return page.locator("figure.chart [role=img]").first.get_attribute("aria-label") or ""


def wait_until_chart_moves(page: Page) -> None:
    """The first chart says other values than it does now."""
    page.wait_for_selector("figure.chart [role=img]", timeout=PATIENCE_MS)
    told = "document.querySelector('figure.chart [role=img]').getAttribute('aria-label')"
    wait_in(page, f"before => {told} !== before", chart_label(page))


def test_a_zip_is_uploaded_trained_on_and_its_model_downloaded(
    vision: Site, vision_visit: Visit, tmp_path: Path
) -> None:
    upload = tmp_path / "drawings.zip"
    upload.write_bytes(drawn_images(per_class=40, size=32))
    page = vision_visit.open("/train")
    page.locator("input[type=file]").first.set_input_files(upload)
    expect(page.get_by_text("80 samples")).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_role("searchbox").first.fill("resnet18")
    page.get_by_role("radio", name="resnet18").first.check()
    page.get_by_label("Epochs").first.fill("2")
    page.get_by_label("Image size").first.fill("32")
    page.get_by_text("Advanced settings").first.click()
    # Weights of a hub cannot be fetched everywhere.
    page.locator("#field-imageClassifier-pretrained").select_option("false")
    page.get_by_role("button", name="Start Training").click()
    page.wait_for_url(re.compile("/jobs/"))
    wait_until_ended(page)
    page.get_by_role("link", name="Artifacts").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all (ZIP)").click()
    names = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).namelist()
    assert any(name.endswith("model.safetensors") for name in names)


def test_a_reload_in_the_middle_shows_the_same_as_having_stayed(site: Site, visit: Visit) -> None:
    job = site.train("steps=100000,step_ms=100,save=40", name="reloaded")
    page = visit.open(f"/jobs/{job}")
    wait_until_chart_moves(page)
    page.reload()
    wait_until_chart_moves(page)
    cancel(site, job, page)
    assert shown_steps(page) == site.losses(job)[-SHOWN_STEPS:]


def test_a_gateways_restart_is_told_ridden_out_and_loses_no_point(site: Site, visit: Visit) -> None:
    job = site.train("steps=100000,step_ms=100,save=50", name="ridden-out")
    page = visit.open(f"/jobs/{job}")
    wait_until_chart_moves(page)
    site.platform.gateway.kill()
    expect(page.get_by_text("Reconnecting…").first).to_be_visible(timeout=PATIENCE_MS)
    site.platform.gateway.start()
    expect(page.get_by_text("Reconnecting…")).to_have_count(0, timeout=PATIENCE_MS)
    wait_until_chart_moves(page)
    cancel(site, job, page)
    assert shown_steps(page) == site.losses(job)[-SHOWN_STEPS:]


def test_two_fingers_zoom_into_a_chart_and_out_again(site: Site, visit: Visit) -> None:
    job = site.train("steps=200,step_ms=10", name="pinched")
    assert site.ended(job) == "JOB_STATE_SUCCEEDED"
    page = visit.open(f"/jobs/{job}")
    area = page.locator("figure.chart .u-over").first
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *shares: float) -> None:
        points = [
            {"x": box["x"] + share * box["width"], "y": box["y"] + box["height"] / 2, "id": number}
            for number, share in enumerate(shares)
        ]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.4, 0.6)
    touch("touchMove", 0.3, 0.7)
    touch("touchMove", 0.2, 0.8)
    touch("touchEnd")
    page.wait_for_url(re.compile("zoom="))
    begin, end = map(float, page.url.partition("zoom=")[2].replace("%3A", ":").split(":"))
    first, *_, last = map(int, site.losses(job))
    span = last - first
    assert begin == pytest.approx(first + span / 3, abs=span / 20)
    assert end == pytest.approx(last - span / 3, abs=span / 20)
    touch("touchStart", 0.1, 0.9)
    touch("touchMove", 0.4, 0.6)
    touch("touchEnd")
    page.wait_for_url(lambda url: "zoom=" not in url)


def test_what_one_tab_does_the_other_shows(site: Site, visit: Visit) -> None:
    job = site.train("steps=100000,step_ms=30,save=20", name="two-tabs")
    first, second = visit.open(f"/jobs/{job}"), visit.open("/jobs")
    expect(first.locator("header .badge")).to_have_text("Running", timeout=PATIENCE_MS)
    row = second.get_by_role("row").filter(has_text="two-tabs")
    row.get_by_role("button", name="Pause").click()
    expect(first.locator("header .badge")).to_have_text("Paused", timeout=PATIENCE_MS)
    first.get_by_role("button", name="Resume").click()
    expect(row.locator(".badge")).to_have_text("Running", timeout=PATIENCE_MS)
    row.get_by_role("button", name="Cancel job").click()
    second.get_by_role("dialog").get_by_role("button", name="Cancel job").click()
    wait_until_ended(first, "Cancelled")


def test_a_failed_job_says_why_and_what_to_do(site: Site, visit: Visit) -> None:
    job = site.train("steps=60,step_ms=5,fail_at=30", name="failing")
    page = visit.open(f"/jobs/{job}")
    card = page.get_by_role("alert")
    expect(card).to_contain_text("Failed", timeout=PATIENCE_MS)
    expect(card).to_contain_text("What happened")
    expect(card).to_contain_text("Take fail_at out of the script.")
    expect(page.locator("header .badge")).to_have_text("Failed")
    card.get_by_role("link", name="Read the log").click()
    expect(page.locator(".log .error")).to_contain_text("The script says to fail.")


def test_an_advice_carries_its_change_into_another_run(site: Site, visit: Visit) -> None:
    job = site.train("steps=60,step_ms=5,advise_at=20", name="advised")
    page = visit.open(f"/jobs/{job}")
    wait_until_ended(page)
    page.get_by_role("button", name="Rerun with learning rate 0.1").click()
    page.wait_for_url(lambda url: "/jobs/" in url and job not in url)
    page.get_by_role("link", name="Settings", exact=True).click()
    row = page.get_by_role("row").filter(has_text="hyperparameters.learningRate")
    expect(row.locator("td.given")).to_have_text("0.1")


def test_chosen_jobs_are_compared_with_the_first(site: Site, visit: Visit) -> None:
    for name, script in (("tortoise", "steps=80,step_ms=2,eval=20"), ("hare", "steps=40,step_ms=2,eval=15")):
        assert site.ended(site.train(script, name=name)) == "JOB_STATE_SUCCEEDED"
    page = visit.open("/jobs")
    for name in ("tortoise", "hare"):
        page.get_by_role("checkbox", name=f"Choose {name} for a comparison").check()
    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("figure", name="Loss")).to_contain_text("hare")
    best = page.get_by_role("region", name="Best values")
    expect(best.get_by_role("row", name="Accuracy").locator("td").nth(1)).to_contain_text(re.compile("[▲▼]"))
    differing = page.get_by_role("region", name="Settings that differ")
    expect(differing).to_contain_text("steps=80")
    expect(differing).not_to_contain_text("datasets/tiny")
    page.get_by_role("button", name="Make baseline: hare").click()
    expect(best.locator("thead th").nth(1)).to_have_text("hare")
    page.get_by_role("button", name="Take tortoise out").click()
    page.wait_for_url(lambda url: url.count("job=") == 1)


def test_findings_are_looked_at_and_left_out_in_a_version(
    site: Site, visit: Visit, defective_images: bytes
) -> None:
    site.upload("pets", defective_images, format="DATASET_FORMAT_IMAGE_FOLDER")
    page = visit.open("/datasets")
    page.get_by_role("link", name="pets", exact=True).click()
    copies = page.locator("summary").get_by_text("Duplicate across splits", exact=True)
    copies.click()
    page.get_by_role("button", name="val/cat/x-copy.png").click()
    pair = page.get_by_role("dialog").locator("img")
    expect(pair).to_have_count(2)
    wait_in(
        page, "() => [...document.querySelectorAll('dialog img')].every(i => i.complete && i.naturalWidth)"
    )
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Use without this file").click()
    page.get_by_role("dialog").get_by_role("button", name="Make version").click()
    expect(page.get_by_text(re.compile("files? (is|are) left out"))).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("link", name="pets", exact=True)).to_be_visible()
    assert copies.count() == 0


def test_keys_reach_every_page_and_leave_fields_alone(visit: Visit) -> None:
    page = visit.open("/system")
    page.get_by_role("heading", level=1).wait_for()
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/datasets")
    page.get_by_role("searchbox").wait_for()
    page.keyboard.press("/")
    page.keyboard.type("gj?")
    assert page.get_by_role("searchbox").input_value() == "gj?"
    page.locator("h1").click()
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").blur()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_markup_in_names_is_text(site: Site, visit: Visit) -> None:
    body = {
        "datasetId": "markup",
        "displayName": "<img src=x onerror=alert(1)><script>alert(2)</script>",
        "format": "DATASET_FORMAT_JSONL",
        "sizeBytes": "10",
        "requestId": "markup",
    }
    site.http.post("/v1/datasets", json=body).raise_for_status()
    page = visit.open("/datasets/markup")
    expect(page.get_by_role("heading", level=1)).to_have_text(body["displayName"])
