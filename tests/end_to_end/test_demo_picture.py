"""The README's picture of the demonstration shows what the demonstration shows today."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def read_words(picture: str) -> str:
    """The text of a picture, without its form: another version of rich draws the same words otherwise."""
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>|&#160;", " ", picture, flags=re.DOTALL).split())


def test_the_picture_is_that_of_the_demonstration():
    command = [sys.executable, "-m", "tools.demo_picture"]
    drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    stored = (ROOT / "docs/demo.svg").read_text(encoding="utf-8")
    assert "point of no return" in read_words(stored)
    assert read_words(drawn) == read_words(stored)
    assert "http" not in stored.replace("http://www.w3.org/2000/svg", "").replace(
        "https://git.example.com", ""
    )
