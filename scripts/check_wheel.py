"""Build the wheel, install it in a fresh environment, and see that it works there: library, schema and all."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Fail loudly where the installed package is not whole."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        subprocess.run(
            [sys.executable, "-m", "build", "--quiet", "--outdir", str(work / "dist"), str(ROOT)], check=True
        )
        (wheel,) = (work / "dist").glob("*.whl")
        venv.create(work / "venv", with_pip=True)
        python = work / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        command = work / "venv" / "bin" / "auditor"
        listed = subprocess.run([command, "references", "list"], cwd=work, check=True, capture_output=True, text=True)
        print(listed.stdout, end="")
        if "smollm2-135m-instruct" not in listed.stdout:
            sys.exit("the wheel lacks the reference library")
        code = "from auditor.report.schema import load_schema; load_schema()"
        subprocess.run([python, "-c", code], cwd=work, check=True)
        for format_ in ("html", "sarif", "cyclonedx", "markdown"):  # template and style sheet are files of the package
            subprocess.run([command, "scan", ".", "-o", f"{format_}={format_}.out"], cwd=work, check=False)
            if not (work / f"{format_}.out").stat().st_size:
                sys.exit(f"the wheel cannot write {format_}")
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, works from a fresh environment")


if __name__ == "__main__":
    main()
