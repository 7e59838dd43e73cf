"""Benchmarks keep what they measured, with date and machine, in `benchmarks/results`."""

import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

_RESULTS = Path(__file__).parent / "results"


def record(benchmark: str, numbers: dict[str, Any]) -> None:
    """Append a line to the benchmark's file of results."""
    line = {"date": datetime.now(UTC).isoformat(timespec="minutes"), "machine": machine(), **numbers}
    _RESULTS.mkdir(exist_ok=True)
    with (_RESULTS / f"{benchmark}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def machine() -> str:
    """Processor, GPU if there is one, and versions."""
    lines = []
    if shutil.which("lscpu"):
        lines = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout.splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("Model name")]
    processor = models[0] if models else platform.machine()
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([processor, *gpu, f"torch {torch.__version__}", f"Python {platform.python_version()}"])


def seconds_at_work(process: int) -> float:
    """Time of a process on a core, which does not depend on what else the machine does."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
