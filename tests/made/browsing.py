"""A page in a real browser, and what it must not do there."""

import contextlib
import pathlib
import re
from collections.abc import Iterator
from typing import Any

# As root no sandbox can be made; nothing of the browser's own is to call home.
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)


@contextlib.contextmanager
def opened(
    browser: Any,
    path: pathlib.Path,
    *,
    width: int = 1440,
    height: int = 900,
    dark: bool = False,
    fragment: str = "",
    allowed: str = "",
) -> Iterator[Any]:
    """The page, shown; at the end it had no error and asked for nothing from afar.

    Args:
        browser: Of playwright.
        path: The page's file.
        width: Of the window, in pixels.
        height: Of the window, in pixels.
        dark: Whether the user likes dark pages.
        fragment: What follows ``#`` in the address.
        allowed: Expression of messages that are no fault.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
    )
    try:
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on(
            "console",
            lambda said: (
                faults.append(f"{said.type}: {said.text}")
                if said.type in ("error", "warning")
                else None
            ),
        )
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith(("file:", "data:", "blob:"))
                else faults.append(f"asked for {asked.url}")
            ),
        )
        page.goto(path.as_uri() + (f"#{fragment}" if fragment else ""))
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        yield page
        kept = [one for one in faults if not (allowed and re.search(allowed, one))]
        assert not kept, kept
    finally:
        context.close()


def settled(page: Any) -> None:
    """Wait until what was changed is drawn."""
    frame = "new Promise(go => requestAnimationFrame(go))"
    page.evaluate(f"async () => {{ await {frame}; await {frame}; }}")
