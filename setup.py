"""Metadata, dependencies and extras of kfgn_graph."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def read_version() -> str:
    """Return the version by reading ``_version.py`` as text, so that nothing is imported."""
    text = (HERE / "kfgn_graph" / "_version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if match is None:
        raise RuntimeError("kfgn_graph/_version.py holds no line of the form: __version__ = ...")
    return match.group(1)


CORE = [
    "pytensor>=3.3.5,<3.4",
    "numpy>=2.0",
    "scipy>=1.13",
    "safetensors>=0.5",
]

JAX = ["jax>=0.12"]
CLI = [
    "typer>=0.15",
    "rich>=13",
    "pydantic>=2.7",
    "matplotlib>=3.9",
    "pooch>=1.8",
    "packaging>=24",
    "threadpoolctl>=3.5",
]
EXPERIMENTS = [
    *CLI,
    *JAX,
    "pytensor-ml>=0.3,<0.4",
    "scikit-learn>=1.5",
    "tensorboardX>=2.6",
]

# Wheels of mkl exist for x86-64 Linux and Windows only; elsewhere the C backend is linked
# against the BLAS of the system.
MKL = "mkl>=2024; platform_machine in 'x86_64 AMD64' and sys_platform != 'darwin'"
# latex2mathml renders the formulas; ziamath has their font, STIX Two Math.
PAGES = [
    "sphinx>=8.1",
    "myst-parser>=4",
    "furo>=2024.8.6",
    "latex2mathml>=3.78",
    "ziamath>=0.13",
]
TESTS = [
    *EXPERIMENTS,
    *PAGES,
    "hypothesis>=6.100",
    "import-linter>=2.1",
    "jsonschema>=4.18",
    "pytest>=8.2",
    "pytest-xdist>=3.6",
    MKL,
]

# Building the reference imports every module, the program and the JAX backend among them.
DOCS = [*CLI, *JAX, *PAGES]
DEV = [*TESTS, *DOCS, "ruff>=0.9", "mypy>=1.14", "pre-commit>=4"]

setup(
    name="kfgn_graph",
    version=read_version(),
    description="Kronecker-factored Gauss-Newton training, compiled from a PyTensor loss graph.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="kfgn_graph developers",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    packages=find_packages(include=["kfgn_graph", "kfgn_graph.*"]),
    package_data={
        "kfgn_graph": ["py.typed"],
        "kfgn_graph.program.spec": ["presets/*.toml"],
        "kfgn_graph.program.report": ["*.html", "*.css", "*.js"],
    },
    entry_points={"console_scripts": ["kfgn = kfgn_graph.program.entry:main"]},
    zip_safe=False,
    python_requires=">=3.12",
    install_requires=CORE,
    extras_require={
        "jax": JAX,
        "cuda": ["jax[cuda13]>=0.12"],
        "cli": CLI,
        "experiments": EXPERIMENTS,
        "tests": TESTS,
        "docs": DOCS,
        "dev": DEV,
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
