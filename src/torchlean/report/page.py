"""An HTML page that carries everything in itself."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torchlean.files import atomic_write

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --paper: #ffffff;
        --accent: #0a5cad; --well: #f6f8fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --paper: #0d1117; --accent: #6cb0f5; --well: #151b23; }
  figure svg { background: #ffffff; border-radius: 6px; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin-top: 2.4rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
p.lead { color: var(--soft); margin-top: 0; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { background: var(--well); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem;
      white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .3rem 2rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
figure { margin: 1rem 0; }
figure svg { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; }
strong.verdict { color: var(--accent); }
"""


@dataclass
class Page:
    """Collects sections, then writes one file.

    Every text is escaped; `figure` takes an SVG drawing as it stands.
    """

    title: str
    lead: str
    parts: list[str] = field(default_factory=list)

    def section(self, heading: str) -> None:
        self.parts.append(f"<h2>{html.escape(heading)}</h2>")

    def text(self, words: str) -> None:
        self.parts.append(f"<p>{html.escape(words)}</p>")

    def verdict(self, word: str, words: str) -> None:
        self.parts.append(f'<p><strong class="verdict">{html.escape(word)}</strong> {html.escape(words)}</p>')

    def code(self, text: str) -> None:
        self.parts.append(f"<pre>{html.escape(text)}</pre>")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        top = "".join(f"<th>{html.escape(h)}</th>" for h in head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
        self.parts.append(f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>")

    def figure(self, svg: str, caption: str) -> None:
        self.parts.append(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def html(self) -> str:
        """The page as text."""
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
            f'<h1>{html.escape(self.title)}</h1><p class="lead">{html.escape(self.lead)}</p>'
            + "\n".join(self.parts)
            + "</body></html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page in one step. Raises FileError."""
        atomic_write(path, self.html().encode())
