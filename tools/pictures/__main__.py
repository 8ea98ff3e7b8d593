"""`python -m tools.pictures`: every picture of README, help pages, icon and banner. Same seeds, same pictures."""

from __future__ import annotations

from tools.host.browser import NoBrowser
from tools.host.server import ComfyServer
from tools.pictures.emblem import draw_emblems
from tools.pictures.nodes import draw_nodes
from tools.pictures.outputs import draw_outputs


def main() -> None:
    draw_emblems()
    with ComfyServer() as server:
        draw_outputs(server)
        try:
            draw_nodes(server)
        except NoBrowser as reason:
            raise SystemExit(f"The pictures of the nodes themselves stay as they were. {reason}") from None


if __name__ == "__main__":
    main()
