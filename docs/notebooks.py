"""The tutorials: run, and made into pages.

    python docs/notebooks.py [NAME ...]

runs the notebooks of docs/tutorials/ in their folder and stores them with what they showed. When the site is built, the
stored notebooks become pages like the others; nothing runs then.
"""

import argparse
import base64
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files

TUTORIALS = Path(__file__).resolve().parent / "tutorials"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class _Page(File):
    """A page whose source is a notebook, and so is its name in links."""

    def is_documentation_page(self) -> bool:
        return True


def on_files(files: Files, config: Any) -> Files:
    """Makes a page of every notebook, with its pictures and the notebook itself beside it."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb") and file.inclusion.is_included()]:
        text, pictures = page(Path(file.abs_src_path))
        folder = file.src_uri.removesuffix(".ipynb")
        files.remove(file)
        files.append(_Page.generated(config, file.src_uri, content=text))
        beside = {**pictures, Path(file.src_uri).name: file.content_bytes}
        for name, content in beside.items():
            files.append(File.generated(config, f"{folder}/{name}", content=content))
    return files


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A stored notebook as Markdown, and its pictures by name."""
    first, *rest = nbformat.read(path, as_version=4).cells
    title, text = first.source.split("\n", 1)
    parts = [title, f"[Download this notebook]({path.stem}/{path.name}){{ download }}", text]
    pictures: dict[str, bytes] = {}
    for cell in rest:
        parts.append(f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "text/html" in data and "image/png" not in data:
                parts.append(f'<div class="output">\n{data["text/html"].strip()}\n</div>')
                continue
            if "image/png" in data:
                name = f"{path.stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                shown = f"![what the code above draws]({path.stem}/{name})"
            elif "text/markdown" in data:
                shown = data["text/markdown"]
            else:
                shown = f"```text\n{(output.get('text') or data['text/plain']).rstrip()}\n```"
            parts.append(f'<div class="output" markdown>\n\n{shown}\n\n</div>')
    return "\n\n".join(parts), pictures


def run(path: Path, folder: Path, changes: Mapping[str, str] | None = None) -> nbformat.NotebookNode:
    """Runs a notebook in a folder.

    Args:
        changes: text in its code, and what to run instead.

    Returns:
        The notebook with its outputs: without times, numbers of executions, and paths of this machine.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
        ValueError: text that is not in its code.
    """
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for text, instead in (changes or {}).items():
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and text in cell.source]
        if not cells:
            raise ValueError(f"{path}: no code has {text!r}")
        for cell in cells:
            cell.source = cell.source.replace(text, instead)
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=1800, record_timing=False, coalesce_streams=True, resources=where)
    path_of_commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    client.execute(env={**os.environ, "PATH": path_of_commands})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                _plain(output, folder)
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def _plain(output: Any, folder: Path) -> None:
    if "execution_count" in output:
        output.execution_count = None
    data = output.get("data", {})
    for holder, key in ((output, "text"), *((data, key) for key in data if not key.startswith("image/"))):
        if isinstance(holder.get(key), str):
            lines = _ESCAPES.sub("", holder[key]).replace("\r\n", "\n").split("\n")
            holder[key] = "\n".join(_without_folders(line, folder.resolve(), TUTORIALS.parents[1]) for line in lines)


def _without_folders(line: str, *folders: Path) -> str:
    """A line with paths from one of the folders; where it is one of a table, its border stays in its place."""
    short = line
    for folder in folders:
        short = short.replace(f"{folder}/", "")
    return short[:-1].ljust(len(line) - 1) + "│" if line.endswith("│") else short


def main() -> None:
    """Runs and stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in TUTORIALS.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)} (default: all)")
    for name in parser.parse_args().names or names:
        path = TUTORIALS / f"{name}.ipynb"
        print(f"{path}: runs", file=sys.stderr)
        nbformat.write(run(path, TUTORIALS), path)


if __name__ == "__main__":
    main()
