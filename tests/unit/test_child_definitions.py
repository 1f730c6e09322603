"""Modules that only define things, and modules that run code when they are imported."""

from __future__ import annotations

import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from runs.child.definitions import code_in

DEFINES = """
    '''A module.'''
    from __future__ import annotations
    import re, logging
    from dataclasses import dataclass, field
    from pathlib import Path
    from typing import TYPE_CHECKING
    from pydantic import BaseModel, Field, field_validator
    from experiments import Experiment, Limits
    if TYPE_CHECKING:
        import numpy as np
    try:
        import tomllib
    except ImportError:
        tomllib = None
    logger = logging.getLogger(__name__)
    WORD = re.compile(r"[a-z]+")
    DATA = Path(__file__).parent / "data.csv"
    SIZES: list[int] = [2**n for n in range(4)]
    A, B = 1, -2
    def helper(x: int = 3, *, y=len("abc")) -> str: return f"{x}"
    @dataclass(frozen=True)
    class State:
        rows: list[int] = field(default_factory=list)
    class One(Experiment):
        limits = Limits(timeout_s=60)
        class Config(BaseModel):
            size: int = Field(3, ge=1)
            @field_validator("size")
            @classmethod
            def check(cls, value): return value
        def run(self, ctx): print("anything may happen here")
"""

RUNS = [
    "import time\nSTARTED = time.time()",
    "import uuid\nclass One:\n    token = uuid.uuid4()",
    "rows = open('data.csv').read()",
    "print('hello')",
    "for n in range(3): pass",
    "import numba\n@numba.njit\ndef f(): pass",
    "import torch\nmodel = torch.compile(None)",
    "def Path(x): return open(x)\nfile = Path('a')",
    "def f(x=open('a')): pass",
    "class Base:\n    def __init_subclass__(cls): pass",
    "class Base(metaclass=Meta): pass",
    "import sys\nsys.path.append('x')",
    "import os\nos.environ['A'] = 'b'",
    "with open('a') as f: pass",
    "values = [read() for read in readers]",
    "broken = (",
]


def module(folder: Path, source: str, name: str = "one.py") -> ModuleType:
    file = folder / name
    file.write_text(textwrap.dedent(source))
    made = ModuleType("one")
    made.__file__ = str(file)
    return made


def test_definitions_run_nothing(tmp_path: Path) -> None:
    assert code_in([module(tmp_path, DEFINES)]) == ""


@pytest.mark.parametrize("source", RUNS)
def test_whatever_else_a_module_does_is_code(tmp_path: Path, source: str) -> None:
    assert code_in([module(tmp_path, source)]).startswith("ran code (one.py, line ")


def test_compiled_modules_may_do_anything(tmp_path: Path) -> None:
    assert code_in([module(tmp_path, "", "one.so")]) == "ran compiled code (one.so)"
