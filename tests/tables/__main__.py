"""`python -m tests.tables`: rewrites the generated tables of README.md and examples/, and prints what it changed."""

from __future__ import annotations

from .pages import ROOT, pages, rendered


def main() -> None:
    """Write each page whose tables are not those of the code."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        made = rendered(text)
        if made != text:
            page.write_text(made, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
