"""Models of this computer, brought to the server with a browser."""

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import MODES, PATIENCE_MS, SCREENSHOTS, Site, Visit, serious_issues
from tuneyard.vision import networks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAME = "squeezenet1_1"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "my weights.pth"
    torch.save(networks.build(NAME, classes=5, image_size=64).state_dict(), path)
    return path


def choose(page: Page, label: str, path: Path) -> None:
    page.get_by_label(label, exact=True).set_input_files(path)


def uploaded(page: Page, name: str) -> Locator:
    """The row of what is on its way, started."""
    page.get_by_role("button", name="Upload and import").click()
    return page.get_by_role("region", name=name)


def test_a_file_is_uploaded_checked_and_listed(vision: Site, vision_visit: Visit, weights: Path) -> None:
    page = vision_visit.open("/models?import")
    choose(page, "Choose a file", weights)
    expect(page.get_by_text(re.compile(r"my weights\.pth, .*MB"))).to_be_visible()
    expect(page.get_by_label("Kind")).to_have_value("FAMILY_VISION")
    page.get_by_label("Name", exact=True).fill(NAME)
    row = uploaded(page, "my weights.pth")
    expect(row.locator(".badge")).to_have_text("Ready", timeout=60_000)
    row.get_by_role("link", name=NAME).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NAME)
    expect(page.get_by_text(f"{NAME} of torchvision, 5 classes").first).to_be_visible()


def test_a_folder_is_uploaded_as_a_zip_and_what_is_taken_is_said_at_the_name(
    vision: Site, vision_visit: Visit, weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gewicht über"
    folder.mkdir()
    (folder / "weights.pth").write_bytes(weights.read_bytes())
    (folder / ".DS_Store").write_bytes(b"x")
    page = vision_visit.open("/models?import")
    choose(page, "Choose a folder", folder)
    expect(page.get_by_text("gewicht über: 1 file")).to_be_visible()
    row = uploaded(page, "gewicht über")
    expect(row.locator(".badge")).to_have_text("Ready", timeout=60_000)
    name = row.get_by_role("link").get_attribute("href") or ""
    taken = name.rpartition("/")[2]
    choose(page, "Choose a file", weights)
    page.get_by_label("Name", exact=True).fill(taken)
    page.get_by_role("button", name="Upload and import").click()
    expect(page.get_by_role("region", name="my weights.pth").get_by_role("alert")).to_contain_text("taken")


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_what_is_no_model_is_refused_where_it_was_chosen(
    vision: Site, vision_visit: Visit, tmp_path: Path
) -> None:
    page = vision_visit.open("/models?import")
    page.get_by_role("button", name="Upload and import").click()
    expect(page.get_by_role("alert")).to_have_text("Choose the model's file or folder first.")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    choose(page, "Choose a file", tmp_path / "m.gguf")
    expect(page.get_by_role("alert")).to_contain_text("GGUF is for running models.")
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../weights.pth", b"x")
    choose(page, "Choose a file", tmp_path / "evil.zip")
    page.get_by_label("Kind").select_option("FAMILY_VISION")
    row = uploaded(page, "evil.zip")
    expect(row.get_by_role("alert")).to_contain_text("the ZIP is refused", timeout=PATIENCE_MS)
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Trap(tmp_path / "run")))
    choose(page, "Choose a file", tmp_path / "evil.pt")
    row = uploaded(page, "evil.pt")
    expect(row.get_by_role("alert")).to_contain_text("cannot be read safely", timeout=60_000)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mode", list(MODES), indirect=True)
def test_the_form_is_whole(visit: Visit, mode: str, tmp_path: Path) -> None:
    page = visit.open("/models?import")
    page.locator("input[type=file]").first.wait_for(state="attached")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "m.gguf")
    page.get_by_role("alert").wait_for()
    page.screenshot(path=SCREENSHOTS / f"models-upload-{mode}.png")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert serious_issues(page) == []
