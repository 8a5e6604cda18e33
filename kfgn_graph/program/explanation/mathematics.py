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


FIRST = 50
"""Number of first updates that estimate factors and compute inverses whatever the periods."""
FACTORED = (
    r"\Delta = -\bigl(Q + \pi\gamma I\bigr)^{-1}\, \nabla L\,"
    r" \bigl(G + \tfrac{\gamma}{\pi} I\bigr)^{-1}, \qquad"
    r" \pi^2 = \frac{\operatorname{tr} Q / d_Q}{\operatorname{tr} G / d_G}"
)
DIRECTIONS = {
    "exact": r"\operatorname{vec} \Delta = -\bigl(Q \otimes G + (\lambda + \eta) I\bigr)^{-1}"
    r" \operatorname{vec} \nabla L",
    "ekfac": r"\Delta = -U \Bigl(\frac{U^\top\, \nabla L\, V}{S + \lambda + \eta}\Bigr) V^\top,"
    r" \qquad U, V \text{ the eigenvectors of } Q, G, \quad"
    r" S \text{ the second moments in them}",
}
"""The preconditioned direction of the inverses that do not damp the factors."""
MODEL = (
    r"M(\delta) = L(\theta) + \nabla L^\top \delta"
    r" + \tfrac12\, \delta^\top \bigl(\bar G + (\lambda + \eta) I\bigr)\, \delta"
)
BATCH = (
    "Sums are over the $N$ examples $n$ of the batch. The curvature $G_n$ of an example is of the"
    " loss itself, and includes the factor $1/N$ of a mean. A plus marks the next layer."
)
GAUSS_NEWTON = r"$\bar G$ is the exact Gauss-Newton matrix of the whole network."


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
    yield from _section("Curvature", BATCH)
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
    yield from _section("Preconditioned direction", "")
    if made.method == "hessianfree":
        yield (
            r"By conjugate gradients, with the loss $L$, penalty included, and $\eta = "
            + f"{spec.l2:g}$,"
        )
        yield _display(r"\bigl(\bar G + (\lambda + \eta) I\bigr)\, \Delta = -\nabla L.")
    else:
        yield r"In each layer, with the loss $L$, penalty included,"
        yield _display(DIRECTIONS.get(spec.schedule.inverse, FACTORED))
        yield f"with ${_gamma(spec)}$. {_periods(spec)}"
    yield from _section("Step", "")
    yield from _step(spec)
    yield from _section("Damping", "")
    yield from _damping(spec)


def _periods(spec: GraphSpec) -> str:
    schedule = spec.schedule
    return (
        f"The factors are estimated every {schedule.factors_every} updates and averaged with decay"
        f" {schedule.curvature_decay:g}. Their inverses ({schedule.inverse}) are recomputed every"
        f" {schedule.refresh_every} updates, and after an update that was not taken. Both also"
        f" happen at each of the first {FIRST} updates."
    )


def _damping(spec: GraphSpec) -> Iterator[str]:
    if spec.damping.rule == "constant":
        yield rf"$\lambda = {spec.damping.value:g}$, constant."
        return
    every = spec.damping.every
    yield rf"$\lambda$ is adapted every {every} updates by the reduction ratio"
    yield _display(
        r"\rho = \frac{L(\theta + \delta) - L(\theta)}{M(\delta) - M(0)}, \qquad"
        r" \lambda \leftarrow"
        rf" \begin{{cases}} \omega \lambda & \rho > 3/4 \\ \lambda / \omega & \rho < 1/4 \\"
        rf" \lambda & \text{{otherwise}} \end{{cases}} \qquad \omega = (19/20)^{{{every}}}."
    )


def _gamma(spec: GraphSpec) -> str:
    if spec.schedule.inverse in DIRECTIONS:
        return rf"\eta = {spec.l2:g}"
    if spec.damping.gamma == "tied":
        return rf"\gamma = \sqrt{{\lambda + \eta}},\ \eta = {spec.l2:g}"
    every = spec.damping.gamma_every
    return rf"\gamma \text{{ chosen from three candidates every }} {every} \text{{ updates}}"


def _step(spec: GraphSpec) -> Iterator[str]:
    fixed = spec.step.length
    if fixed is not None:
        yield _display(rf"\delta = {fixed:g}\, \Delta, \qquad \theta \leftarrow \theta + \delta")
        if spec.damping.rule != "constant":
            yield "The quadratic model of the loss, by which the damping is adapted, is"
            yield _display(MODEL)
        return
    groups = range(1, spec.step.groups + 1)
    terms = [rf"\alpha_{{{k}}} \Delta_{{{k}}}" for k in groups]
    weights = [rf"\alpha_{{{k}}}" for k in groups]
    told = r"$\Delta_g$ is $\Delta$ in the layers of group $g$, and zero in the others."
    if spec.step.momentum:
        terms.append(r"\mu\, \delta_0")
        weights.append(r"\mu")
        told += r" $\delta_0$ is the last update, and $\mu$ is at least 0 and at most 1."
    chosen = rf"\delta = {' + '.join(terms)}, \qquad ({', '.join(weights)}) = \arg\min M(\delta)"
    moved = r"\theta \leftarrow \theta + \delta"
    yield _display(rf"\begin{{gathered}}{MODEL} \\ {chosen} \\ {moved}\end{{gathered}}")
    yield f"{told} {GAUSS_NEWTON}"


def _section(title: str, text: str) -> list[str]:
    return [rf"\subsection*{{{title}}}", *([text] if text else [])]


def _display(content: str) -> str:
    return rf"\[ {content} \]"


def _aligned(lines: list[str]) -> str:
    body = " \\\\\n".join(lines)
    return f"\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _text(text: str) -> str:
    """Return a text with the special characters of LaTeX escaped."""
    return text.translate(SPECIAL)
