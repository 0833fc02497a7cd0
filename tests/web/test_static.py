"""The client's files: they load nothing from elsewhere, and keep to what a strict policy and the export allow."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

STATIC = Path(str(files("backwalk.web"))) / "static"
MODULES = {path.name: path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.js"))}
PAGE, STYLE = ((STATIC / name).read_text(encoding="utf-8") for name in ("index.html", "style.css"))
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([a-z_]+\.js)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function|class|const) (\w+)", re.MULTILINE)
NAMESPACES = ("http://www.w3.org/1998/Math/MathML", "http://www.w3.org/2000/svg")


@pytest.mark.parametrize("name", MODULES)
def test_imports_name_what_other_modules_export(name):
    text = MODULES[name]
    assert len(re.findall(r"^import\b", text, re.MULTILINE)) == len(IMPORT.findall(text)), "another form of import"
    for names, source in IMPORT.findall(text):
        imported = {each.strip() for each in names.split(",") if each.strip()}
        assert imported <= set(EXPORT.findall(MODULES[source])), source
        assert all(len(re.findall(rf"\b{re.escape(each)}\b", text)) > 1 for each in imported), "an import is not used"
    assert len(re.findall(r"^export\b", text, re.MULTILINE)) == len(EXPORT.findall(text)), "another form of export"


def test_imports_have_no_cycle():
    needs = {name: {source for _, source in IMPORT.findall(text)} for name, text in MODULES.items()}
    while needs:
        free = {name for name, others in needs.items() if not others & set(needs)}
        assert free, f"a cycle among {sorted(needs)}"
        needs = {name: others for name, others in needs.items() if name not in free}


def test_every_module_is_used():
    reached, new = set(), {"main.js"}
    while new:
        reached |= new
        new = {source for name in new for _, source in IMPORT.findall(MODULES[name])} - reached
    assert reached == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_text_from_data_never_becomes_markup(name):
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "new Function"):
        assert way not in MODULES[name]


def test_nothing_comes_from_elsewhere():
    for name, text in {**MODULES, "index.html": PAGE, "style.css": STYLE}.items():
        addresses = set(re.findall(r"""(?:https?:)?//[a-z][^\s"'`)]*""", re.sub(r"^\s*//.*$", "", text, flags=re.M)))
        assert {each for each in addresses if "." in each and each not in NAMESPACES} == set(), name


def test_the_page_has_no_inline_style_or_script():
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=", PAGE)
    assert re.findall(r"<script[^>]*>", PAGE) == ['<script type="module" src="static/main.js">']
    assert re.findall(r'<link rel="stylesheet"[^>]*>', PAGE) == ['<link rel="stylesheet" href="static/style.css">']


def test_ids_of_the_page_are_unique_and_labels_point_to_controls():
    ids = re.findall(r'\sid="([^"]+)"', PAGE)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'\sfor="([^"]+)"', PAGE)) <= set(ids)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_has_enough_contrast(scheme):
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme]))
    for ink in ("ink", "soft", "link", "s-xt", "s-eps", "s-x0", "s-mu", "s-next", "s-z"):
        for ground in ("page", "panel", "notice"):
            assert _contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground)
    assert _contrast(colors["on-button"], colors["button"]) >= 4.5
    for line in ("forward", "backward", "field-line"):  # marks and edges of controls
        assert _contrast(colors[line], colors["page"]) >= 3.0, line


def _contrast(one, other):
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color):
    parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
