"""Every public name is documented, and no docstring has lost its LaTeX."""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

import kfgn_graph as kfgn

PACKAGE = Path(kfgn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
PUBLIC = [name for name in kfgn.__all__ if not name.startswith("__")]
# What "\t", "\n" and their like in a docstring without a raw prefix turn into; the line feed
# is not to be told from a line's end, so a backslash in such a docstring is refused as well.
EATEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def docstrings(source: str) -> list[ast.Constant]:
    """Return the docstring nodes of a module, its classes and its functions."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        node.body[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None
    ]


def damaged(source: str) -> list[int]:
    """Return the lines of the docstrings that hold an escape sequence."""
    found = []
    for doc in docstrings(source):
        segment = ast.get_source_segment(source, doc) or ""
        raw = segment[:2].lower().startswith("r")
        if EATEN.search(doc.value) or ("\\" in segment and not raw):
            found.append(doc.lineno)
    return found


def has_section(doc: str, title: str) -> bool:
    """Whether a numpydoc docstring has the section."""
    return re.search(rf"^{title}\n-{{{len(title)}}}$", doc, re.MULTILINE) is not None


def undocumented(doc: str, signature: inspect.Signature) -> list[str]:
    """Return the parameters that no entry of a section names, and 'Returns' if it is missing."""
    takes = [p.name for p in signature.parameters.values() if p.name not in ("self", "cls")]
    entries = {
        name.strip(" *")
        for line in re.findall(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: ?:.*)?$", doc, re.MULTILINE)
        for name in line.split(",")
    }
    missing = [name for name in takes if name not in entries]
    if takes and not (has_section(doc, "Parameters") or has_section(doc, "Attributes")):
        missing.append("Parameters")
    returns = signature.return_annotation not in (None, "None", inspect.Signature.empty)
    if returns and not has_section(doc, "Returns"):
        missing.append("Returns")
    return missing


def public_functions() -> list[str]:
    return [name for name in PUBLIC if inspect.isfunction(getattr(kfgn, name))]


def public_classes() -> list[str]:
    return [name for name in PUBLIC if inspect.isclass(getattr(kfgn, name))]


def test_the_public_names_are_those_that_are_there():
    assert len(set(kfgn.__all__)) == len(kfgn.__all__)
    assert [name for name in kfgn.__all__ if not hasattr(kfgn, name)] == []


@pytest.mark.parametrize("name", public_functions())
def test_a_public_function_documents_what_it_takes_and_returns(name):
    function = getattr(kfgn, name)
    assert undocumented(inspect.getdoc(function) or "", inspect.signature(function)) == []


@pytest.mark.parametrize("name", public_classes())
def test_a_public_class_documents_its_fields(name):
    cls = getattr(kfgn, name)
    assert vars(cls).get("__doc__"), f"{name} has no docstring"
    if issubclass(cls, Exception) or not dataclasses.is_dataclass(cls):
        return
    fields = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY)
        for f in dataclasses.fields(cls)
        if not f.name.startswith("_")
    ]
    own = [inspect.getdoc(c) for c in cls.__mro__ if c.__module__.startswith("kfgn_graph")]
    assert undocumented("\n\n".join(own), inspect.Signature(fields)) == []


@pytest.mark.parametrize("name", public_classes())
def test_the_public_methods_of_a_class_have_docstrings(name):
    cls = getattr(kfgn, name)
    members = {
        attribute: member
        for attribute, member in vars(cls).items()
        if not attribute.startswith("_")
        and (inspect.isfunction(member) or isinstance(member, property))
    }
    bare = [attribute for attribute, member in members.items() if not inspect.getdoc(member)]
    assert bare == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_docstring_has_lost_its_latex(path):
    assert damaged(path.read_text("utf-8")) == []


@pytest.mark.parametrize("command", [r"\alpha", r"\beta", r"\frac", r"\theta", r"\nabla", r"\vec"])
def test_lost_latex_is_noticed(command):
    assert damaged('def f():\n    """The $' + command + '$."""\n') == [2]
    assert damaged('def f():\n    r"""The $' + command + '$."""\n') == []


def test_a_missing_entry_is_noticed():
    def complete(a: int, b: int) -> int: ...

    doc = "Sum.\n\nParameters\n----------\na, b : int\n\nReturns\n-------\nint\n    The sum."
    assert undocumented(doc, inspect.signature(complete)) == []
    assert undocumented("Sum.", inspect.signature(complete)) == ["a", "b", "Parameters", "Returns"]
