"""Every state of small worlds, and proof that the search would notice a mistake."""

from __future__ import annotations

import pytest

from myspinbot_worker.graph.plan import State, impossible, satisfied

from .bugs import BREAKS, Bug
from .explore import Search, explore, main
from .ground import Scope
from .shapes import shapes
from .worlds import ALONE, EXPLORED, SEARCHED, TWO_VISITS


@pytest.mark.parametrize(
    ("size", "scope", "least"), [pytest.param(*world[1:], id=world.name) for world in EXPLORED]
)
def test_every_statement_holds_in_every_state(size: int, scope: Scope, least: int) -> None:
    states, violated = explore(shapes(size), scope)
    assert violated is None, str(violated)
    assert states >= least


def test_the_search_comes_by_what_it_is_for() -> None:
    """Statements are not kept by a world in which nothing goes wrong."""
    seen = set()
    for shape, scope in (
        (ALONE, Scope(doubles=False)),
        (TWO_VISITS, Scope(fractions=False, unanswered=False)),
    ):
        search = Search(shape, scope)
        search.run()
        for world in search.worlds:
            seen |= {" ".join(map(str, step.label)) for step in search.steps.out_of(world)}
    for moment in (
        "a worker holding node 0 crashes",
        "the job is cancelled",
        "the message of node 0 is lost",
        "an idle worker claims node 0 by an earlier message",
        "a worker that lost node 0 settles node 0 as completed (fenced)",
        "a worker that lost node 0 settles node 0 as completed (gone)",
        "a worker holding node 0 settles node 0 as completed and gets no answer",
        "a worker holding node 0 settles node 0 as completed (already)",
        "a worker holding node 0 settles node 0 as ready charging attempt",
        "a worker holding node 0 settles node 0 as ready charging lost worker",
        "an ingestor holding node 0 settles node 0 as failed",
        "an ingestor with v1-double in hand admits v1-double (duplicate)",
        "an ingestor with v1-double in hand admits v1-double (busy)",
        "the control plane sends the second visit twice",
        "an ingestor with v2-double in hand sets aside v2-double",
    ):
        assert moment in seen


@pytest.mark.parametrize("bug", Bug, ids=lambda bug: bug.name)
def test_a_mistake_is_noticed(bug: Bug) -> None:
    for shape, scope in SEARCHED:
        violation = Search(shape, scope, bug).run().violation
        if violation is not None:
            assert violation.statement is BREAKS[bug], str(violation)
            return
    pytest.fail(f"not noticed: {bug}")


def test_a_violation_is_told_by_a_shortest_trace() -> None:
    violation = Search(ALONE, Scope(), Bug.NO_EXPIRY).run().violation
    assert str(violation).splitlines() == [
        "6: from everywhere, fair steps alone can bring every entry to its end",
        "no fair steps lead from here to the end of every entry",
        "graph [python] no edges",
        "    1. the first entry is sent",
        "    2. an idle ingestor reads v1",
        "    3. an ingestor with v1 in hand admits v1",
        "    4. the ingestor sends the message of node 0",
        "    5. an idle worker claims node 0 by its message",
        "    6. a worker holding node 0 crashes",
    ]


def test_every_graph_is_there_once() -> None:
    assert [len(list(shapes(size))) for size in (1, 2, 3)] == [3, 33, 156]


@pytest.mark.parametrize("source", State)
def test_one_kind_of_edge_stands_for_another(source: State) -> None:
    assert satisfied("on_success", source) == satisfied("normal", source)
    assert impossible("on_success", source) == impossible("normal", source)


def test_the_command_tells_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nodes", "1", "--workers", "1", "--ingestors", "1"]) == 0
    assert "nothing violated" in capsys.readouterr().out
    assert main(["--nodes", "1", "--bug", "SETTLE_ANY"]) == 1
    assert "a holder that is not the newest" in capsys.readouterr().out
    assert main(["--nodes", "1", "--limit", "100", "--seconds", "0"]) == 0
