"""Build the engine: quickjs-ng as a WebAssembly module, from pinned sources.

``python tools/engine/build.py``          writes the module into the package
``python tools/engine/build.py --check``  builds anew and compares the bytes with the module there
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent.parent / "worker" / "engine"
MODULE = PACKAGE / "quickjs.wasm"
COMPILER = "ziglang==0.17.1"
OWN_SOURCES = ("heap.c", "wasi.c", "engine.c")
UPSTREAM_SOURCES = ("quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c")

# The names of files are relative, and nothing of the machine is in the command, so the same bytes
# come out in every folder.
COMMAND = (
    "cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-O3", "-mbulk-memory",
    "-D_GNU_SOURCE", "-DNDEBUG", "-D_WASI_EMULATED_PROCESS_CLOCKS", "-D_WASI_EMULATED_SIGNAL",
    "-Iupstream-quickjs", *OWN_SOURCES, *(f"upstream-quickjs/{name}" for name in UPSTREAM_SOURCES),
    "-lwasi-emulated-process-clocks", "-lwasi-emulated-signal",
    "-Wl,-z,stack-size=655360", "-Wl,--export=__stack_pointer",
    "-Wl,--strip-debug", "-g0", "-w", "-o", "quickjs.wasm",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    with tempfile.TemporaryDirectory() as folder:
        built = build(Path(folder))
        if parser.parse_args().check:
            if built.read_bytes() != MODULE.read_bytes():
                sys.exit(f"{MODULE} is not what its sources build to; run `make engine`")
            print("the engine is what its sources build to")
        else:
            shutil.copyfile(built, MODULE)
            copy_licenses(Path(folder))
            print(f"{MODULE}: {MODULE.stat().st_size} bytes")


def build(folder: Path) -> Path:
    """Build the module in an empty folder and return its file."""
    fetch_sources(folder)
    for patch in sorted((HERE / "patches").glob("*.patch")):
        run("git", "apply", "-p1", "--directory=upstream-quickjs", str(patch), cwd=folder)
    for source in (*HERE.glob("*.c"), *HERE.glob("*.h")):
        shutil.copyfile(source, folder / source.name)
    run(str(compiler(folder)), "-m", "ziglang", *COMMAND, cwd=folder)
    return folder / "quickjs.wasm"


def fetch_sources(folder: Path) -> None:
    """Unpack the pinned source distribution's C sources into the folder."""
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:",
        "--require-hashes", "-r", str(HERE / "requirements.txt"), "-d", str(folder), cwd=folder,
    )  # fmt: skip
    (archive,) = folder.glob("quickjs*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (root,) = (path for path in folder.glob("quickjs*") if path.is_dir())
    shutil.move(root / "upstream-quickjs", folder / "upstream-quickjs")


def compiler(folder: Path) -> Path:
    """Return a Python interpreter that has the pinned compiler installed."""
    environment = folder / "compiler"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", COMPILER, cwd=folder)
    return python


def copy_licenses(folder: Path) -> None:
    """Copy the licences of what is in the module beside it."""
    (zig,) = (folder / "compiler").glob("lib/python*/site-packages/ziglang")
    libc = zig / "lib" / "libc"
    texts = {
        **{name: notice(folder / "upstream-quickjs" / name) for name in UPSTREAM_SOURCES},
        "zig: the compiler's runtime, parts of the libc": (zig / "LICENSE").read_text("utf-8"),
        "wasi-libc": (libc / "wasi" / "LICENSE").read_text("utf-8"),
        "wasi-libc (MIT)": (libc / "wasi" / "LICENSE-MIT").read_text("utf-8"),
        "musl": (libc / "musl" / "COPYRIGHT").read_text("utf-8"),
    }
    line = "=" * 80
    parts = [f"{line}\n{name}\n{line}\n{text.strip()}\n" for name, text in texts.items()]
    (PACKAGE / "LICENSES").write_text("\n".join(parts), "utf-8")


def notice(source: Path) -> str:
    """Return the comment that opens a source file, with its copyright and licence."""
    text = source.read_text("utf-8")
    return text[: text.index("*/") + 2]


def run(*command: str, cwd: Path) -> None:
    caches = {
        name: str(cwd / "zig-cache") for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
    }
    # Not a part of any repository, or git would apply patches to that one's files only.
    environment = {**os.environ, **caches, "GIT_CEILING_DIRECTORIES": str(cwd.parent)}
    subprocess.run(command, cwd=cwd, env=environment, check=True)


if __name__ == "__main__":
    main()
