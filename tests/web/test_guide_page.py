"""The guide's pages: rendered from the files in docs/, linked with one another, without scripts."""

import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tuneyard.web import guide_page

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = guide_page.EDITIONS


@pytest.mark.parametrize("edition", guide_page.EDITIONS, ids=lambda edition: edition.language)
async def test_each_edition_has_its_page(http: httpx.AsyncClient, edition: guide_page.Edition) -> None:
    answer = await http.get(edition.path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f'<html lang="{edition.language}">' in answer.text
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert answer.text.count("<h1 ") == 1


async def test_the_style_is_a_file_of_its_own(http: httpx.AsyncClient) -> None:
    answer = await http.get("/guide.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.text == guide_page.STYLE


async def test_the_pages_link_one_another(http: httpx.AsyncClient) -> None:
    assert f'href="{CHINESE.path}"' in (await http.get(ENGLISH.path)).text
    assert f'href="{ENGLISH.path}"' in (await http.get(CHINESE.path)).text


@pytest.mark.parametrize("edition", guide_page.EDITIONS, ids=lambda edition: edition.language)
def test_links_within_a_page_arrive(edition: guide_page.Edition) -> None:
    shown = guide_page.page(edition)
    ids = set(re.findall(r'<h\d id="([^"]+)"', shown))
    assert set(re.findall(r'href="#([^"]+)"', shown)) <= ids
    assert "troubleshooting" in ids


def test_headings_take_the_written_anchor_or_make_one() -> None:
    markdown = '## Out of memory (OOM)\n\n## <a id="overview"></a>概述\n'
    assert guide_page.anchors(markdown) == ["out-of-memory-oom", "overview"]
    assert '<h2 id="overview">概述</h2>' in guide_page.rendered(markdown, CHINESE)


def test_markup_in_the_text_is_shown_as_text() -> None:
    shown = guide_page.rendered("a <script>alert(1)</script>\n\n```sh\n<b>\n```\n", ENGLISH)
    assert "<script" not in shown
    assert "&lt;b&gt;" in shown


def test_files_that_are_not_served_are_no_links() -> None:
    shown = guide_page.rendered(
        "[memory](memory.md), [there](https://example.org), [zh](training-guide.zh.md#x)", ENGLISH
    )
    assert "<span>memory</span>" in shown
    assert 'href="https://example.org"' in shown
    assert 'href="/guide.zh#x"' in shown


class _Tags(HTMLParser):
    """Checks that every element that is opened is closed again, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "link", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("edition", guide_page.EDITIONS, ids=lambda edition: edition.language)
def test_a_page_is_well_formed(edition: guide_page.Edition) -> None:
    tags = _Tags()
    tags.feed(guide_page.page(edition))
    assert tags.open == []


def test_the_wheel_brings_the_text() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    expected = {
        f"docs/{edition.file}": f"tuneyard/web/guide_text/{edition.file}" for edition in (ENGLISH, CHINESE)
    }
    assert build["targets"]["wheel"]["force-include"] == expected
