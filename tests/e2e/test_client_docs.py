"""What the page for clients tells people to type is run as it stands."""

import re
from pathlib import Path

from tests.e2e.conftest import Stack
from tests.e2e.test_readme import ROOT, adapted, shell

PAGE = ROOT / "deploy" / "docs" / "clients.md"


def test_the_recipes_for_grpcurl_work(stack: Stack) -> None:
    (script,) = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    printed = shell(adapted(script, stack))
    assert "treadle.graph.v1.GraphService is a service" in printed
    assert '"status": "SERVING"' in printed
    assert '"EVENT_KIND_EXECUTION_COMPLETED"' in printed
    assert '"\\"hi\\""' in printed


def test_every_link_of_the_pages_leads_somewhere() -> None:
    for page in PAGE.parent.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / Path(target)).exists(), f"{page.name}: {target}"
