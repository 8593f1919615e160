"""The OpenAPI document as one HTML page without scripts: what is called how, and what comes back."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --bg: light-dark(#f7f8fa, #0f1216); --surface: light-dark(#fff, #161a20);
  --text: light-dark(#14171c, #e9ecf1); --text-2: light-dark(#474f5c, #b6bdc9);
  --border: light-dark(#dde1e8, #2a303a); --accent: light-dark(#1f5fcc, #7eaaff); }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1000px; padding: 24px 16px 64px; background: var(--bg); color: var(--text);
  font: 14px/20px system-ui, sans-serif; }
h1 { font-size: 28px; line-height: 36px; } h2 { font-size: 20px; margin: 32px 0 8px; }
a { color: var(--accent); }
details { border-top: 1px solid var(--border); padding: 8px 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
code { font: 13px/20px ui-monospace, monospace; }
b { display: inline-block; min-width: 64px; font-weight: 600; }
p { color: var(--text-2); max-width: 80ch; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: 4px 16px 4px 0;
  border-bottom: 1px solid var(--border); }
th { font-weight: 500; color: var(--text-2); }
"""


def page(document: Mapping[str, Any]) -> str:
    """The page; its style stands in a file of its own, as the content policy wants it."""
    body = "\n".join((*_operations(document), *_schemas(document)))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Tuneyard API</title>'
        '<link rel="stylesheet" href="/docs.css"></head><body><h1>Tuneyard API</h1>'
        f"<p>{escape(document['info']['description'])} The same as"
        ' <a href="/openapi.json">OpenAPI document</a>; the calls of the training guide stand in'
        ' <a href="/api/openapi.json">another one</a>.</p>'
        f"{body}</body></html>"
    )


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    service = ""
    for route, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            if operation["tags"][0] != service:
                service = operation["tags"][0]
                yield f"<h2>{escape(service)}</h2>"
            yield _operation(route, verb, operation)


def _operation(route: str, verb: str, operation: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td>{each['in']}</td>"
        f"<td>{escape(each['description'])}</td></tr>"
        for each in operation["parameters"]
    )
    table = f"<table><tr><th>parameter</th><th>in</th><th>meaning</th></tr>{rows}</table>" if rows else ""
    body = _contents(operation.get("requestBody", {}).get("content", {}))
    answer = _contents(operation["responses"]["200"]["content"])
    return (
        f'<details id="{escape(operation["operationId"])}"><summary><b>{verb.upper()}</b>'
        f"<code>{escape(route)}</code></summary><p>{escape(operation['description'])}</p>{table}"
        + (f"<p>Body: {body}</p>" if body else "")
        + f"<p>Answer: {answer}</p></details>"
    )


def _contents(content: Mapping[str, Any]) -> str:
    """What comes as which media types, the first of which says what it is."""
    schemas = [each["schema"] for each in content.values() if "schema" in each]
    types = " or ".join(f"<code>{escape(media_type)}</code>" for media_type in content)
    return f"{_type(schemas[0])} as {types}" if schemas else ""


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Messages</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        rows = "".join(
            f"<tr><td><code>{escape(field)}</code></td><td>{_type(inner)}</td>"
            f"<td>{escape(inner.get('description', ''))}</td></tr>"
            for field, inner in schema.get("properties", {}).items()
        )
        values = "".join(
            f"<tr><td><code>{escape(value)}</code></td></tr>" for value in schema.get("enum", ())
        )
        yield (
            f'<details id="schema-{escape(name)}"><summary><code>{escape(name)}</code></summary>'
            f"<p>{escape(schema.get('description', ''))}</p><table>{rows}{values}</table></details>"
        )


def _type(schema: Mapping[str, Any]) -> str:
    if "allOf" in schema:
        return _link(schema["allOf"][0])
    if "$ref" in schema:
        return _link(schema)
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return escape(str(schema.get("format") or schema.get("type", "any")))


def _link(schema: Mapping[str, Any]) -> str:
    name = schema["$ref"].rpartition("/")[2]
    return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
