"""The training guide as HTML pages without scripts, from the Markdown files that travel with the package."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict


@dataclass(frozen=True)
class Edition:
    """The guide in one language."""

    language: str
    """As in an element's `lang`."""
    file: str
    path: str
    """Where the web server shows it."""
    title: str
    home: str
    """What the way back to the web UI is called."""
    table: str
    """What a table that scrolls sideways is called by screen readers; likewise `code`."""
    code: str


EDITIONS: Final = (
    Edition("en", "training-guide.md", "/guide", "Training guide", "Back to Tuneyard", "Table", "Code"),
    Edition("zh-CN", "training-guide.zh.md", "/guide.zh", "训练指南", "返回 Tuneyard", "表格", "代码"),
)

STYLE: Final = """
:root { color-scheme: light dark; --bg: light-dark(#f7f8fa, #0f1216); --surface: light-dark(#fff, #161a20);
  --text: light-dark(#14171c, #e9ecf1); --text-2: light-dark(#474f5c, #b6bdc9);
  --border: light-dark(#dde1e8, #2a303a); --accent: light-dark(#1f5fcc, #7eaaff); }
* { box-sizing: border-box; }
html { scroll-padding-top: 16px; }
body { margin: 0 auto; max-width: 840px; padding: 24px 16px 96px; background: var(--bg); color: var(--text);
  font: 15px/24px system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 28px; line-height: 36px; }
h2 { font-size: 22px; line-height: 28px; margin: 56px 0 8px; padding-top: 16px;
  border-top: 1px solid var(--border); }
h3 { font-size: 17px; margin: 32px 0 8px; }
:target { text-decoration: underline; text-decoration-color: var(--accent); text-underline-offset: 4px; }
a { color: var(--accent); }
li { margin: 4px 0; }
code { font: 13px/20px ui-monospace, monospace; }
pre { background: var(--surface); border: 1px solid var(--border); border-radius: 8px; padding: 12px 16px;
  overflow-x: auto; line-height: 20px; }
.wide { overflow-x: auto; margin: 16px 0; }
table { border-collapse: collapse; min-width: 100%; font-size: 14px; line-height: 20px; }
td, th { text-align: left; vertical-align: top; padding: 6px 16px 6px 0;
  border-bottom: 1px solid var(--border); }
td:last-child { min-width: 200px; }
th { font-weight: 500; color: var(--text-2); }
pre:focus-visible, .wide:focus-visible, a:focus-visible { outline: 2px solid var(--accent); }
"""

_SHIPPED: Final = Path(__file__).parent / "guide_text"
_CHECKOUT: Final = Path(__file__).parents[3] / "docs"
_ANCHOR: Final = re.compile(r'<a id="([a-z0-9-]+)"></a>\s*')
_PLACES: Final[Mapping[str, str]] = {edition.file: edition.path for edition in EDITIONS}


def text(edition: Edition) -> str:
    """The guide's Markdown: from the package, or from the docs of the checkout that it runs in."""
    file = _SHIPPED / edition.file
    return (file if file.exists() else _CHECKOUT / edition.file).read_text(encoding="utf-8")


@functools.cache
def page(edition: Edition) -> str:
    """The whole page; its style stands in a file of its own, as the content policy wants it."""
    return (
        f'<!doctype html><html lang="{edition.language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{edition.title} · Tuneyard</title><link rel="stylesheet" href="/guide.css"></head><body>'
        f'<nav><a href="/">{edition.home}</a></nav>'
        f"<main>{rendered(text(edition), edition)}</main></body></html>"
    )


def rendered(markdown: str, edition: Edition) -> str:
    """Markdown as HTML: headings carry the anchors that settings and advice point to."""
    return str(_parser(edition).render(markdown))


def anchors(markdown: str) -> list[str]:
    """The anchors of all headings, in their order."""
    tokens = _parser(EDITIONS[0]).parse(markdown)
    return [str(token.attrs["id"]) for token in tokens if token.type == "heading_open"]


def _parser(edition: Edition) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.core.ruler.before("inline", "anchors", _set_anchors)
    parser.core.ruler.push("places", _set_places)

    def fence(
        _: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
    ) -> str:
        # What scrolls must be reachable by keyboard.
        code = escape(tokens[index].content, quote=False)
        return f'<pre tabindex="0" role="region" aria-label="{edition.code}"><code>{code}</code></pre>\n'

    def table_open(
        _: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
    ) -> str:
        return f'<div class="wide" tabindex="0" role="region" aria-label="{edition.table}"><table>\n'

    def table_close(
        _: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
    ) -> str:
        return "</table></div>\n"

    for name, rule in (("fence", fence), ("table_open", table_open), ("table_close", table_close)):
        parser.add_render_rule(name, rule)
    return parser


def _set_anchors(state: StateCore) -> None:
    """Gives each heading its id: the one written before its words, else one made of them."""
    for heading, inline in pairwise(state.tokens):
        if heading.type != "heading_open":
            continue
        written = _ANCHOR.match(inline.content)
        if written:
            inline.content = inline.content[written.end() :]
        heading.attrSet("id", written[1] if written else _slug(inline.content))


def _slug(words: str) -> str:
    """As code forges make anchors of headings."""
    return re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")


def _set_places(state: StateCore) -> None:
    """Links to the other edition lead to its page; files that are not served become plain words."""
    for link, end in _links(state.tokens):
        target, hash_, anchor = str(link.attrs.get("href", "")).partition("#")
        if target in _PLACES:
            link.attrSet("href", f"{_PLACES[target]}{hash_}{anchor}")
        elif target and not target.startswith(("http://", "https://", "/")):
            link.tag = end.tag = "span"
            link.attrs = {}


def _links(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    """Each link's opening and closing token; links hold no links."""
    for block in tokens:
        opened: Token | None = None
        for token in block.children or ():
            if token.type == "link_open":
                opened = token
            elif token.type == "link_close" and opened is not None:
                yield opened, token
