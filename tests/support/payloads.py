"""Texts that would act in a page that took them for markup, and how to tell whether one did.

Each payload calls `attack` with its number; `open_page` fails a test in which one runs. Some need a
click, a hover or a focus: `payload_faults` finds these in the document, where they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_PATTERNS = (
    # elements
    "<script>attack(#)</script>",
    "<ScRiPt >attack(#)</sCrIpT >",
    "<script src=data:text/javascript,attack(#)></script>",
    "<script type=module>attack(#)</script>",
    "<scr<script>ipt>attack(#)</scr</script>ipt>",
    "<img src=x: onerror=attack(#)>",
    "<img/src='x:'/onerror='attack(#)'>",
    "<IMG SRC=x: ONERROR=&#97;ttack(#)>",
    "<svg onload=attack(#)>",
    "<svg><script>attack&#40;#)</script></svg>",
    "<svg><animate onbegin=attack(#) attributeName=x dur=1s>",
    "<svg><a xlink:href=javascript:attack(#)><text y=20>go</text></a></svg>",
    "<math><mtext><img src=x: onerror=attack(#)></mtext></math>",
    "<iframe srcdoc='<script>parent.attack(#)</script>'></iframe>",
    "<iframe src='javascript:parent.attack(#)'></iframe>",
    "<object data='data:text/html,<script>parent.attack(#)</script>'></object>",
    "<details open ontoggle=attack(#)>",
    "<input autofocus onfocus=attack(#)>",
    "<video><source onerror=attack(#)></video>",
    "<form action=javascript:attack(#)><button>go</button></form>",
    "<a href=javascript:attack(#)>go</a>",
    "<a href='java\tscript:attack(#)'>go</a>",
    "<base href=javascript:attack(#)//>",
    "<meta http-equiv=refresh content='0;url=javascript:attack(#)'>",
    # out of an attribute
    '" onmouseover="attack(#)" x="',
    "' onfocus='attack(#)' autofocus='",
    '"><img src=x: onerror=attack(#)>',
    "'><svg onload=attack(#)>",
    "` onclick=attack(#) x=`",
    # out of the data and the code of a script, out of a comment, a style, a title
    "</script><script>attack(#)</script>",
    "<!--<script>attack(#)//-->",
    '"};attack(#);//',
    "'+attack(#)+'",
    "\\\"-attack(#)//",
    "${attack(#)}",
    "{{attack(#)}}{% raw %}{{7*7}}<%= attack(#) %>#{attack(#)}",
    "--><img src=x: onerror=attack(#)>",
    "</style><img src=x: onerror=attack(#)>",
    "}*{background:url('javascript:attack(#)')}</title></textarea><svg onload=attack(#)>",
    # letters that other programs read as markup: line separators, bidi controls, full width
    "\u2028attack(#)\u2029\u202e<img src=x: onerror=attack(#)>\u2066\uff1cscript\uff1e\ufeff",
)  # fmt: skip
PAYLOADS: Sequence[str] = tuple(
    pattern.replace("#)", f"{number})") for number, pattern in enumerate(_PATTERNS)
)


def payload_faults(page: Page) -> Sequence[str]:
    """Markup in the document that came out of a payload, one line each."""
    return [str(fault) for fault in page.evaluate(_MARKUP)]


_MARKUP = r"""() => {
  const faults = [];
  const note = (element, what) => faults.push(
    `<${element.localName}> ${what.slice(0, 120)}: ${element.outerHTML.slice(0, 160)}`);
  const acts = (name, value) => /attack/.test(value)
    && (/^on/.test(name) || /^\s*(java\s*script|data):/i.test(value) || /srcdoc|style/.test(name));
  const isData = element => /json/.test(element.type || "");
  for (const element of document.querySelectorAll("*")) {
    for (const { name, value } of element.attributes)
      if (acts(name, value) || /attack|[<"'`{}]/.test(name)) note(element, `${name}=${value}`);
    const isCode = element.localName === "style" || element.localName === "script";
    if (isCode && !isData(element) && /attack\(/.test(element.textContent)) note(element, "code");
    if (["base", "object", "form"].includes(element.localName) && /attack/.test(element.outerHTML))
      note(element, "element");
  }
  return faults;
}"""


def missing_texts(page: Page, texts: Sequence[str] = PAYLOADS) -> Sequence[str]:
    """Texts that the page does not show as they are, in text or in attributes that are read out.

    White space is not compared, nor are characters that pages name instead (`<U+202E>`).
    """
    shown = page.evaluate(_SHOWN)
    return [text for text in texts if _plain(text) not in _plain(shown)]


_SHOWN = """() => [document.title, document.body.textContent,
  ...[...document.querySelectorAll("[title], [aria-label]")].flatMap(element =>
    [element.title, element.ariaLabel || ""])].join(" ")"""


def _plain(text: str) -> str:
    """The printable ASCII characters of a text, without spaces and names of characters."""
    for name in ("<U+202E>", "<U+2028>", "<U+2029>", "<U+2066>", "<U+FEFF>", "<U+0009>"):
        text = text.replace(name, "")
    return "".join(character for character in text if "!" <= character <= "~")
