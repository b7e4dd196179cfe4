"""Draws the picture of `memctl demo` for the README.

script -qec "memctl demo 2>/dev/null" demo.txt && python experiments/record_demo.py demo.txt
"""

import io
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

text = Path(sys.argv[1]).read_text(encoding="utf-8").replace("\r", "")
lines = [line for line in text.split("\n") if not line.startswith("Script ")]
console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
for line in lines:
    console.print(Text.from_ansi(line), soft_wrap=False, overflow="ellipsis", no_wrap=True)
target = Path(__file__).parent / "results" / "demo.svg"
console.save_svg(str(target), title="memctl demo")
print(target)
