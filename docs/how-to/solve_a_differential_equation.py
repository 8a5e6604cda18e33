"""Solve Poisson's equation on the unit square by a network, in float64."""

import numpy as np
import pytensor
import pytensor.tensor as pt

import kfgn_graph as kfgn


# --- network: u(x) of points x, and its Laplacian by two gradients
def field(x, params):
    """Return u at points (N, 2)."""
    W, b, V, c = params
    return (pt.tanh(x @ W + b) @ V + c)[:, 0]


rng = np.random.default_rng(0)
shapes = {"W": (2, 32), "b": (32,), "V": (32, 1), "c": (1,)}
params = [pytensor.shared(0.5 * rng.normal(size=s), name=n, shape=s) for n, s in shapes.items()]
x, value, inside = pt.matrix("x"), pt.vector("value"), pt.vector("inside")
u = field(x, params)
slope = pytensor.grad(u.sum(), x)
laplacian = sum(pytensor.grad(slope[:, k].sum(), x)[:, k] for k in range(2))

# --- loss: one residual for each point, of the equation inside and of u at the boundary
residual = inside * (laplacian - value) + (1 - inside) * 30 * (u - value)
loss = (residual**2).mean()

# --- points: the solution is sin(pi x) sin(pi y), zero at the boundary
t = (np.arange(12) + 0.5) / 12
interior = np.stack(np.meshgrid(t, t), axis=-1).reshape(-1, 2)
edges = [[s, end] for s in t for end in (0, 1)]
boundary = np.array(edges + [pair[::-1] for pair in edges], "float64")


def exact(points):
    """Return the solution at points (N, 2)."""
    return np.sin(np.pi * points[:, 0]) * np.sin(np.pi * points[:, 1])


points = np.concatenate([interior, boundary])
values = np.concatenate([-2 * np.pi**2 * exact(interior), np.zeros(len(boundary))])
flags = np.concatenate([np.ones(len(interior)), np.zeros(len(boundary))])

# --- training: exact Gauss-Newton steps, lambda follows every update
update = kfgn.compile_update(
    loss,
    params,
    [x, value, inside],
    method="kernel",
    damping=kfgn.LevenbergMarquardt(every=1, decay=0.7, failure_factor=2.0),
    step=kfgn.Rescaling(groups=1, examples=None, reject_below=0.0),
)
for _ in range(150):
    stats = update(points, values, flags)

# --- error: relative, in the points
predicted = pytensor.function([x], u, mode=update.mode)(points)
error = np.linalg.norm(predicted - exact(points)) / np.linalg.norm(exact(points))
print(f"loss {stats.loss:.1e}, relative error {error:.1e}")
print(update.explain())
assert error < 1e-3
