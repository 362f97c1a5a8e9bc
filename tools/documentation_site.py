"""The documentation site, built from the pages of the repository as they stand.

`python -m tools.documentation_site FOLDER` needs the extra `docs`. A warning of the builder is a failure.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = Path("build/site-pages")  # `docs_dir` of mkdocs.yml
LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)")
LISTING = "index.md"
SEARCH = {
    "CHANGELOG.md": "{exclude: true}",
    **dict.fromkeys(("fleet-file.md", "host-configuration.md", "setting.md"), "{boost: 0.5}"),
    **dict.fromkeys(("architecture.md", "glossary.md", "benchmarks.md", "faults.md"), "{boost: 0.3}"),
}
"""What the search gives less weight: long lists of everything, and pages for those who change the program."""


def stage_pages(root: Path, target: Path) -> None:
    """Copy the pages and every file that they link to, so that the links of the repository work on the site, too.

    A link to a folder, which a forge lists, leads to a page with the names of its files.

    Raises:
        FileNotFoundError: a page links to something that is not there.
    """
    shutil.rmtree(target, ignore_errors=True)
    for page in [*root.glob("*.md"), *(root / "docs").glob("*.md")]:
        copied = target / page.relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        head = f"---\nsearch: {SEARCH[page.name]}\n---\n" if page.name in SEARCH else ""
        copied.write_text(head + _link_listings(page, root, target), encoding="utf-8")


def _link_listings(page: Path, root: Path, target: Path) -> str:
    """The text of a page whose links to folders name listings; what it links to is copied."""

    def follow(link: re.Match[str]) -> str:
        linked = (page.parent / link[0]).resolve()
        place = target / linked.relative_to(root.resolve())
        if linked.is_dir():
            _write_listing(linked, place)
            return f"{link[0].rstrip('/')}/{LISTING}"
        if linked.suffix != ".md":
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(linked, place)
        return link[0]

    return LINK.sub(follow, page.read_text(encoding="utf-8"))


def _write_listing(folder: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    files = sorted(one for one in folder.iterdir() if one.is_file())
    for file in files:
        shutil.copyfile(file, place / file.name)
    lines = [f"- [`{file.name}`]({file.name})" for file in files]
    # No page of the navigation, and nothing to search for.
    head = "---\nsearch: {exclude: true}\nhide: [navigation]\n---\n"
    (place / LISTING).write_text(
        "\n".join([f"{head}# Files in `{folder.name}`\n", *lines, ""]), encoding="utf-8"
    )


def build_site(site: Path) -> int:
    """Stage the pages and build the site; the exit status of the builder, which is 1 after a warning."""
    stage_pages(ROOT, ROOT / PAGES)
    # Never with --quiet: then warnings are no failures.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site.resolve())]
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603  (the builder of this environment)


if __name__ == "__main__":
    sys.exit(build_site(Path(sys.argv[1])))
