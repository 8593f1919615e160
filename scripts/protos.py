"""Generates protos/gen, clients/go/tuneyardv1, docs/api.md and the OpenAPI document from protos/tuneyard/v1;
checks the contract.

    scripts/protos.py            generate
    scripts/protos.py --check    fail where the committed code is not what would be generated
    scripts/protos.py --lint     buf lint, format, and breaking against PROTO_BASE (else a release, else main)
    scripts/protos.py --format   rewrite the protos in buf's format

buf comes from npm; its checks run on an image built by protoc, so that no schema registry is reached. Code
for Go is generated and checked where the machine has Go.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import go_protos

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = PROTOS / "gen" / "tuneyard" / "v1"
PACKAGE = Path("tuneyard") / "v1"
API_REFERENCE = ROOT / "docs" / "api.md"
OPENAPI = ROOT / "clients" / "tuneyard" / "web" / "openapi.json"
SITE_PACKAGES = Path(sysconfig.get_paths()["purelib"])
BUF = ("npx", "--yes", "--loglevel=error", "@bufbuild/buf@1.75.0")
INIT = '"""The messages and services of tuneyard.v1, generated: never edited, see `make protos`."""\n'


def sources(root: Path) -> list[Path]:
    return sorted((root / PACKAGE).glob("*.proto"))


def protoc(root: Path, *arguments: str) -> None:
    """Runs the bundled protoc on `root`; google/api comes from the package googleapis-common-protos."""
    from grpc_tools import protoc as compiler

    bundled = Path(str(compiler.__file__)).parent / "_proto"
    include = [f"-I{path}" for path in (root, SITE_PACKAGES, bundled)]
    code = compiler.main(["protoc", *include, *arguments])
    if code != 0:
        raise SystemExit(f"protos: protoc failed on {root}")


def generate(destination: Path) -> None:
    """Writes the package's Python code and its stubs, and nothing else, under `destination`."""
    files = [str(path) for path in sources(PROTOS)]
    services = [path for path in files if path.endswith("_service.proto")]
    bin_dir = Path(sys.executable).parent
    mypy, mypy_grpc = (
        f"--plugin={name}={bin_dir / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    )
    protoc(PROTOS, f"--python_out={destination}", mypy, f"--mypy_out=quiet:{destination}", *files)
    if services:
        # Only services get gRPC code: elsewhere the file would be empty.
        grpc_out = (f"--grpc_python_out={destination}", f"--mypy_grpc_out=quiet:{destination}")
        protoc(PROTOS, mypy_grpc, *grpc_out, *services)
    package = destination / PACKAGE
    (package / "__init__.py").write_text(INIT)
    (package / "py.typed").touch()


def derived() -> dict[Path, str]:
    """What else is made of the protos, as it should be. It reads options, so the generated code must be
    current before.
    """
    from api_reference import reference
    from openapi_document import document

    with tempfile.TemporaryDirectory() as temporary:
        described = Path(image(PROTOS, Path(temporary) / "current.binpb"))
        return {API_REFERENCE: reference(described), OPENAPI: document(described)}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file()}


def fresh_trees(temporary: Path) -> dict[Path, dict[str, bytes]]:
    """The folders of generated code with the files they should hold; without Go's where it cannot be made."""
    generate(temporary)
    trees = {GENERATED: tree(temporary / PACKAGE)}
    try:
        go = go_protos.generate(temporary, [str(path) for path in sources(PROTOS)], protoc=protoc)
    except go_protos.GoUnavailable as error:
        print(f"protos: code for Go skipped: {error}")
    else:
        trees[go_protos.GENERATED] = tree(go)
    return trees


def write() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        trees = fresh_trees(Path(temporary))
    for folder, fresh in trees.items():
        folder.mkdir(parents=True, exist_ok=True)
        for name in tree(folder).keys() - fresh.keys():
            (folder / name).unlink()
        for name, content in fresh.items():
            (folder / name).write_bytes(content)
    for path, text in derived().items():
        path.write_text(text)


def check() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        trees = fresh_trees(Path(temporary))
    for folder, fresh in trees.items():
        committed = tree(folder)
        names = sorted(fresh.keys() | committed.keys())
        differing = [name for name in names if fresh.get(name) != committed.get(name)]
        if differing:
            where = f"{folder.relative_to(ROOT)}: {', '.join(differing)}"
            raise SystemExit(f"protos: generated code is not current ({where}); fix: make protos")
    for path, text in derived().items():
        if not path.exists() or path.read_text() != text:
            raise SystemExit(f"protos: {path.relative_to(ROOT)} is not current; fix: make protos")


def run_buf(*arguments: str, fix: str) -> None:
    if subprocess.run([*BUF, *arguments], cwd=PROTOS, check=False).returncode != 0:
        raise SystemExit(f"protos: buf {arguments[0]} failed; fix: {fix}")


def image(root: Path, destination: Path) -> str:
    files = [str(path) for path in sources(root)]
    protoc(root, "--include_imports", "--include_source_info", f"--descriptor_set_out={destination}", *files)
    return str(destination)


def git(*arguments: str) -> bytes | None:
    """A git command's output, or None when it fails."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True)
    return done.stdout if done.returncode == 0 else None


def base_revision() -> str:
    """What the contract must stay compatible with: PROTO_BASE, else the newest release, else main."""
    tag = (git("describe", "--tags", "--abbrev=0", "--match", "v*") or b"").decode().strip()
    return os.environ.get("PROTO_BASE") or tag or "main"


def check_breaking(current: str, temporary: Path) -> None:
    base = base_revision()
    archive = git("archive", base, PROTOS.name)
    if archive is not None:
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(temporary, filter="data")
    if not sources(temporary / PROTOS.name):
        print(f"protos: buf breaking skipped: {base} holds no protos to compare with")
        return
    against = image(temporary / PROTOS.name, temporary / "base.binpb")
    advice = (
        f"keep the contract compatible with {base}, or name the base of a deliberate break: PROTO_BASE=HEAD"
    )
    arguments = ("breaking", current, "--against", against, "--config", "buf.yaml", "--path", str(PACKAGE))
    run_buf(*arguments, fix=advice)


def buf_is_available() -> bool:
    if shutil.which("npx"):
        answer = subprocess.run([*BUF, "--version"], capture_output=True, check=False)
        if answer.returncode == 0:
            return True
    reason = "buf comes from npm, and `npx @bufbuild/buf` does not run here (is Node.js installed?)"
    if os.environ.get("REQUIRE_SERVERS") == "1" or os.environ.get("CI") == "true":
        raise SystemExit(f"protos: {reason}")
    print(f"protos: buf checks skipped: {reason}")
    return False


def lint() -> None:
    if not buf_is_available():
        return
    run_buf("format", "--diff", "--exit-code", ".", fix="make format")
    with tempfile.TemporaryDirectory() as temporary:
        current = image(PROTOS, Path(temporary) / "current.binpb")
        lint_arguments = ("lint", current, "--config", "buf.yaml", "--path", str(PACKAGE))
        run_buf(*lint_arguments, fix="edit the protos as named above")
        check_breaking(current, Path(temporary))


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    mode = parser.add_mutually_exclusive_group()
    for name in ("check", "lint", "format"):
        mode.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    if options.check:
        check()
    elif options.lint:
        lint()
    elif options.format:
        if buf_is_available():
            run_buf("format", "--write", ".", fix="see above")
    else:
        write()


if __name__ == "__main__":
    main()
