"""A report as ONE HTML file: pictures inside it, nothing loaded from anywhere, readable on any screen."""

from __future__ import annotations

import base64
import html
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from nolabel.viz.colours import to_picture

ImageFormat = Literal["jpeg", "png"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --paper: #fff; --tint: #f6f8fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa4af; --line: #363c44; --paper: #15181c; --tint: #1e2227 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 76rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem }
h2 { font-size: 1.35rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1.1rem; margin: 1.75rem 0 .5rem }
p { margin: .6rem 0; max-width: 46rem }
nav ol { margin: 0; padding-left: 1.4rem; columns: 18rem } nav a { color: inherit }
figure { margin: 1rem 0 } figcaption { color: var(--soft); font-size: .9rem; margin-top: .35rem }
figure img:focus-visible { outline: 3px solid #4c8bf5; outline-offset: 2px }
figure img { display: block; cursor: zoom-in; max-width: 100%; height: auto; border: 1px solid var(--line);
  border-radius: 4px; background: #fff }
.gallery { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0 }
.gallery figure { margin: 0; max-width: 100% } .gallery img { width: 100% }
.table { overflow-x: auto; margin: 1rem 0 } table { border-collapse: collapse; font-size: .93rem }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left }
thead th { border-bottom: 2px solid var(--line) } tbody tr:nth-child(even) { background: var(--tint) }
.number { text-align: right; font-variant-numeric: tabular-nums }
pre { background: var(--tint); border: 1px solid var(--line); border-radius: 4px; padding: .75rem 1rem;
  overflow-x: auto; font-size: .88rem }
dialog { border: 0; padding: 0; margin: auto; max-width: 100vw; max-height: 100vh; background: none; overflow: auto }
dialog::backdrop { background: rgba(0, 0, 0, .85) }
dialog img { display: block; cursor: zoom-out; max-width: 98vw; max-height: 96vh;
  min-width: min(98vw, 60vw); object-fit: contain; image-rendering: auto }
@media print { body { max-width: none } figure, tr { break-inside: avoid } }
"""

_SCRIPT = """
const zoom = document.querySelector('dialog'), large = zoom.querySelector('img');
const enlarge = image => { large.src = image.src; large.alt = image.alt; zoom.showModal() };
document.addEventListener('click', event => {
  if (zoom.open) zoom.close();
  else if (event.target.matches('figure img')) enlarge(event.target);
});
document.addEventListener('keydown', event => {
  if (!zoom.open && event.target.matches('figure img') && (event.key === 'Enter' || event.key === ' ')) {
    event.preventDefault();
    enlarge(event.target);
  }
});
"""


def embed_image(image: ArrayLike | Tensor, image_format: ImageFormat = "jpeg", quality: int = 88) -> str:
    """A picture as a ``data:`` address; "png" keeps every pixel, "jpeg" is several times smaller."""
    buffer = io.BytesIO()
    picture = Image.fromarray(to_picture(image))
    if image_format == "png":
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=quality, subsampling=0)
    return f"data:image/{image_format};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


class Report:
    """Collects parts in order and writes them as one HTML file.

    Every method that adds a part returns the report. All texts are escaped; the file holds only what is
    added to it: no address, no path of this machine, no date.

    Args:
        title: heading and window title.
        summary: one paragraph below the title.
    """

    def __init__(self, title: str, summary: str = "") -> None:
        self.title = title
        self._parts: list[str] = []
        self._sections: list[str] = []
        self.summary = summary

    def heading(self, text: str, level: Literal[2, 3] = 2) -> Report:
        """Start a section (level 2, listed in the contents) or a sub-section (3)."""
        if level == 2:
            self._sections.append(text)
            self._parts.append(f'<h2 id="section-{len(self._sections)}">{html.escape(text)}</h2>')
        else:
            self._parts.append(f"<h3>{html.escape(text)}</h3>")
        return self

    def paragraph(self, text: str) -> Report:
        """Add a paragraph; blank lines separate several."""
        self._parts += [f"<p>{html.escape(part.strip())}</p>" for part in text.split("\n\n") if part.strip()]
        return self

    def code(self, text: str) -> Report:
        """Add commands or a configuration, as written."""
        self._parts.append(f"<pre>{html.escape(text.strip())}</pre>")
        return self

    def image(self, image: ArrayLike | Tensor, caption: str, image_format: ImageFormat = "jpeg") -> Report:
        """Add a picture that a click enlarges; the caption is its text alternative too."""
        self._parts.append(_figure(image, caption, image_format))
        return self

    def gallery(
        self,
        images: Sequence[ArrayLike | Tensor],
        captions: Sequence[str],
        *,
        cell_width: int = 320,
        image_format: ImageFormat = "jpeg",
    ) -> Report:
        """Add pictures in as many columns as fit at ``cell_width`` pixels each."""
        size = f' style="width:{cell_width}px"'
        figures = (_figure(i, c, image_format, size) for i, c in zip(images, captions, strict=True))
        self._parts.append(f'<div class="gallery">{"".join(figures)}</div>')
        return self

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> Report:
        """Add a table; columns whose every cell is a number are aligned right, floats get 3 decimals."""
        numeric = [
            bool(rows) and all(isinstance(row[j], int | float) for row in rows) for j in range(len(header))
        ]
        head = "".join(_cell("th", text, number) for text, number in zip(header, numeric, strict=True))
        body = "".join(
            f"<tr>{''.join(_cell('td', c, n) for c, n in zip(row, numeric, strict=True))}</tr>"
            for row in rows
        )
        title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
        table = f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        self._parts.append(f'<div class="table">{table}</div>')
        return self

    def to_html(self) -> str:
        """The whole file."""
        title = html.escape(self.title)
        summary = f"<p>{html.escape(self.summary)}</p>" if self.summary else ""
        entries = "".join(
            f'<li><a href="#section-{i}">{html.escape(text)}</a></li>'
            for i, text in enumerate(self._sections, start=1)
        )
        contents = f'<nav aria-label="Contents"><ol>{entries}</ol></nav>' if len(self._sections) > 2 else ""
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f"<h1>{title}</h1>\n{summary}\n{contents}\n<main>\n" + "\n".join(self._parts) + "\n</main>\n"
            f'<dialog aria-label="Enlarged picture"><img alt=""></dialog>\n<script>{_SCRIPT}</script>\n'
            "</body>\n</html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the file at once (a reader never sees half of it) and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self.to_html())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path


def _figure(image: ArrayLike | Tensor, caption: str, image_format: ImageFormat, style: str = "") -> str:
    picture = to_picture(image)
    text = html.escape(caption, quote=True)
    size = f'width="{picture.shape[1]}" height="{picture.shape[0]}"'
    tag = f'<img src="{embed_image(picture, image_format)}" alt="{text}" {size} role="button" tabindex="0">'
    return f"<figure{style}>{tag}<figcaption>{text}</figcaption></figure>"


def _cell(tag: str, value: object, number: bool) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    text = "–" if text == "nan" else text
    return f"<{tag}{' class=' + chr(34) + 'number' + chr(34) if number else ''}>{html.escape(text)}</{tag}>"
