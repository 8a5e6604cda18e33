import runpy
from pathlib import Path

from kfgn_graph.program.spec import GraphSpec

DOCS = Path(__file__).parents[3] / "docs"


def test_the_reference_of_the_spec_is_what_the_models_say():
    made = runpy.run_path(str(DOCS / "spec_reference.py"))
    page = (DOCS / "reference" / "spec.md").read_text("utf-8")
    assert page == made["page"](), "run docs/spec_reference.py"


def test_every_key_has_a_row():
    page = (DOCS / "reference" / "spec.md").read_text("utf-8")
    for key, field in GraphSpec.model_fields.items():
        assert f"| `{key}` |" in page or f"## [{key}]" in page
        for model in (field.annotation, *getattr(field.annotation, "__args__", ())):
            for name in getattr(model, "model_fields", ()):
                assert f"| `{name}` |" in page
