r"""The mathematics of a task's update as a LaTeX document.

The document describes the compiled update: the recognised layers, the equations of their factors,
and the damping and step length of the spec.
"""

from __future__ import annotations

from collections.abc import Iterator

from kfgn_graph.program.explanation.account import Account
from kfgn_graph.program.explanation.formulas import equations_of, used_for_outputs
from kfgn_graph.program.explanation.layers import LayerShape
from kfgn_graph.program.outputs import Output
from kfgn_graph.program.spec.models import GraphSpec

HEAD = r"""\documentclass{article}
\usepackage{amsmath,amssymb}
\allowdisplaybreaks
\begin{document}
"""
DOCUMENT = Output("LaTeX document", (HEAD,))
"""The kind of file that holds the mathematics of an update."""
SPECIAL = {ord(sign): f"\\{sign}" for sign in "#$%&_{}"} | {
    ord("\\"): r"\textbackslash{}",
    ord("~"): r"\textasciitilde{}",
    ord("^"): r"\textasciicircum{}",
}
RULES = {
    "sgd": r"\theta \leftarrow \theta - r\, g",
    "momentum": r"v \leftarrow 0.9\, v - r\, g, \qquad \theta \leftarrow \theta + v",
    "nesterov": r"v \leftarrow 0.9\, v - r\, g, \qquad \theta \leftarrow \theta + 0.9\, v - r\, g",
    "adam": r"m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \quad"
    r" v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \quad"
    r" \theta \leftarrow \theta - r\, \hat m / (\sqrt{\hat v} + \epsilon)",
}


def latex_of(spec: GraphSpec, made: Account) -> str:
    """Return a LaTeX document of the mathematics of an update.

    Parameters
    ----------
    spec : GraphSpec
        The spec.
    made : Account
        The account of its update.
    """
    title = f"\\section*{{{_text(spec.name)}: {made.method}, {made.batch} examples per update}}"
    return HEAD + "\n".join([title, *_body(spec, made), r"\end{document}", ""])


def _body(spec: GraphSpec, made: Account) -> Iterator[str]:
    yield f"Loss: {_text(made.loss)}."
    if made.layers:
        yield from _affine_maps(made)
    if spec.method.first_order:
        yield from _section("Update", f"With the learning rate $r = {spec.method.rate:g}$,")
        yield _display(RULES[spec.method.name])
        return
    yield from _section("Curvature", "Means over the examples $n$ of the batch:")
    for equation in equations_of(made.method):
        yield f"{_text(equation.title)}, Eq.~{equation.numbers}:"
        yield _display(equation.latex)
    if made.method != "hessianfree":
        yield from _factors(made)
    yield from _update(spec, made)


def _affine_maps(made: Account) -> Iterator[str]:
    yield from _section("Layers", "In forward order, with examples as rows:")
    lines = [
        rf"h_{{{k}}} &= a_{{{k}}} W_{{{k}}}{f' + b_{{{k}}}' if layer.bias else ''}, &"
        rf" W_{{{k}}} &\in \mathbb{{R}}^{{{layer.inputs} \times {layer.outputs}}}"
        rf" && \text{{{_text(layer.name)}}}"
        for k, layer in enumerate(made.layers, start=1)
    ]
    yield _aligned(lines)


def _factors(made: Account) -> Iterator[str]:
    yield "The factors of the layers are"
    yield _aligned([_factor_line(made, k, layer) for k, layer in enumerate(made.layers, start=1)])


def _factor_line(made: Account, index: int, layer: LayerShape) -> str:
    by = used_for_outputs(made.method, layer)
    return (
        rf"Q_{{{index}}} &\in \mathbb{{R}}^{{{layer.q} \times {layer.q}}}, &"
        rf" G_{{{index}}} &\in \mathbb{{R}}^{{{layer.g} \times {layer.g}}} && \text{{{_text(by)}}}"
    )


def _update(spec: GraphSpec, made: Account) -> Iterator[str]:
    yield from _section("Preconditioned direction", f"{_damping(spec)}.")
    if made.method == "hessianfree":
        yield r"By conjugate gradients, with $\eta = " + f"{spec.l2:g}$,"
        yield _display(r"\bigl(\bar G + (\lambda + \eta) I\bigr)\, \Delta = -\nabla h.")
    else:
        yield _display(
            r"\Delta = -\bigl(Q + \pi\gamma I\bigr)^{-1}\, \nabla h\,"
            r" \bigl(G + \tfrac{\gamma}{\pi} I\bigr)^{-1}, \qquad"
            r" \pi^2 = \frac{\operatorname{tr} Q / d_Q}{\operatorname{tr} G / d_G}"
        )
        yield (
            f"with ${_gamma(spec)}$. The factors are averaged with decay"
            f" {spec.schedule.curvature_decay:g}, and their inverses ({spec.schedule.inverse})"
            f" are recomputed every {spec.schedule.refresh_every} updates."
        )
    yield from _section("Step", "")
    yield _display(_step(spec))


def _damping(spec: GraphSpec) -> str:
    if spec.damping.rule == "constant":
        return rf"$\lambda = {spec.damping.value:g}$, constant"
    every = spec.damping.every
    return (
        rf"$\lambda$ is adapted every {every} updates by"
        r" $\rho = (h(\theta + \delta) - h(\theta)) / (M(\delta) - M(0))$"
    )


def _gamma(spec: GraphSpec) -> str:
    if spec.damping.gamma == "tied":
        return rf"\gamma = \sqrt{{\lambda + \eta}},\ \eta = {spec.l2:g}"
    every = spec.damping.gamma_every
    return rf"\gamma \text{{ chosen from three candidates every }} {every} \text{{ updates}}"


def _step(spec: GraphSpec) -> str:
    if spec.step.length is not None:
        return rf"\theta \leftarrow \theta + {spec.step.length:g}\, \Delta"
    terms = [rf"\alpha_{{{k}}} \Delta_{{{k}}}" for k in range(1, spec.step.groups + 1)]
    weights = [rf"\alpha_{{{k}}}" for k in range(1, spec.step.groups + 1)]
    if spec.step.momentum:
        terms.append(r"\mu\, \delta_0")
        weights.append(r"\mu")
    model = (
        r"M(\delta) = h(\theta) + \nabla h^\top \delta"
        r" + \tfrac12\, \delta^\top \bigl(\bar G + (\lambda + \eta) I\bigr)\, \delta"
    )
    chosen = rf"\delta = {' + '.join(terms)}, \qquad ({', '.join(weights)}) = \arg\min M(\delta)"
    moved = r"\theta \leftarrow \theta + \delta"
    return rf"\begin{{gathered}}{model} \\ {chosen} \\ {moved}\end{{gathered}}"


def _section(title: str, text: str) -> list[str]:
    return [rf"\subsection*{{{title}}}", text, ""]


def _display(content: str) -> str:
    return rf"\[ {content} \]"


def _aligned(lines: list[str]) -> str:
    body = " \\\\\n".join(lines)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _text(text: str) -> str:
    """Return a text with the special characters of LaTeX escaped."""
    return text.translate(SPECIAL)
