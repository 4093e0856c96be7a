"""How the documentation is built: ``python -m sphinx -W -b html docs docs/_build/html``, without a network.

Pages are Markdown (MyST), the reference comes from the docstrings, formulas become MathML, and the fonts are the
reader's own, so that the built pages ask nobody for anything.
"""

import builtins
import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

# jaxtyping and equinox then print their annotations as they are written.
builtins.GENERATING_DOCUMENTATION = True  # type: ignore[attr-defined]

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docutils import nodes  # noqa: E402
from docutils.utils.math.latex2mathml import tex2mathml  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from gradflow.__about__ import __version__  # noqa: E402

project = "gradflow"
author = "gradflow developers"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# The pages of theory include it, paper by paper.
exclude_patterns = ["_build", "statements.md"]

html_theme = "furo"
html_title = "gradflow"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_math_renderer = "mathml"

smartquotes = False
default_role = "literal"  # one backquote in a docstring means code, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
autosummary_generate = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
# Names of axes in annotations, "d_in rank", are no references.
suppress_warnings = ["ref.python"]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90

MARKED = re.compile(r"(:[\w:]+:`[^`]+`|``.+?``|`[^`]+`)")


def escape_formulas(_app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Keeps ``||W||``, ``W_1*`` and the like in a docstring's prose from being read as markup."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "gf.")):
            parts = MARKED.split(line)
            parts[::2] = [re.sub(r"([|*]|_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[number] = "".join(parts)


def tidy_layout(_app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """What reStructuredText asks of the layout and Python's readers do not need."""
    text = "\n".join(lines)
    text = re.sub(r"`` (`.+?) ``", r"``\1``", text)
    text = re.sub(r"^(\s+)What (:func:`[^`]+` raises\.)", r"\1Exception: what \2", text, flags=re.MULTILINE)
    tidied: list[str] = []
    for line in text.split("\n"):
        before = tidied[-1] if tidied else ""
        is_dedent = line.strip() and before.strip() and _indent(line) < _indent(before)
        if is_dedent and not line.lstrip().endswith(":") and not re.match(r"\s*[-\w, *]+: ", line):
            tidied.append("")
        tidied.append(line)
    lines[:] = tidied


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def write_formula(translator: Any, node: nodes.math | nodes.math_block, is_block: bool) -> None:
    """A formula as MathML, which browsers draw by themselves."""
    translator.body.append(tex2mathml(node.astext(), as_block=is_block))
    raise nodes.SkipNode


def shorten_types(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Annotations as they are written in the code, where an array is JAX's or NumPy's."""
    return _shortened(signature), _shortened(returned)


def _shortened(text: str | None) -> str | None:
    if text is None:
        return None
    text = re.sub(r"~?\b(?:jaxtyping\.|jaxlib\._jax\.|gradflow\.(?:\w+\.)+(?=[A-Z]))", "", text)
    text = re.sub(r"(\w+)\[Array, ('[^']*')\] \| \1\[~?(?:numpy\.)?ndarray, \2\]", r"\1[Array, \2]", text)
    return text.replace("PyTree[Float[Array, '...']]", "Params")


def remember_home(app: Sphinx, _what: str, name: str, documented: Any, _options: Any, _lines: list[str]) -> None:
    """Notes under which name an object is documented, for references that use another of its names."""
    homes = getattr(app.env, "gradflow_homes", {})
    if module := getattr(documented, "__module__", None):
        homes.setdefault(f"{module}.{getattr(documented, '__qualname__', '')}", name)
    app.env.gradflow_homes = homes  # type: ignore[attr-defined]


def find_home(app: Sphinx, env: Any, node: Any, content: nodes.Element) -> nodes.Element | None:
    """The link for ``gradflow.integrate``, which is documented as ``gradflow.integration.integrate``."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("gradflow."):
        return None
    try:
        found = pkgutil.resolve_name(target)
    except (AttributeError, ImportError, ValueError):
        return None
    canonical = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    home = getattr(env, "gradflow_homes", {}).get(canonical)
    if home is None or home == target:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, content)


def setup(app: Sphinx) -> None:
    """Adds the renderer, the filter of docstrings, and links for an object's other names."""
    inline = (lambda translator, node: write_formula(translator, node, False), None)
    block = (lambda translator, node: write_formula(translator, node, True), None)
    app.add_html_math_renderer("mathml", inline, block)
    app.connect("autodoc-process-docstring", escape_formulas, priority=100)
    app.connect("autodoc-process-docstring", tidy_layout, priority=90)
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("autodoc-process-docstring", remember_home)
    app.connect("missing-reference", find_home)
