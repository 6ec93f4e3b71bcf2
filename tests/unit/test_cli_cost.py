"""`wsnova-statsd cost`: the numbers it takes, and what it prints."""

import json

import pytest

import wsnova_statsd as ws
from wsnova_statsd.cli.main import main
from wsnova_statsd.dashboards.cost import cost
from wsnova_statsd.dashboards.life import Shape


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    try:
        status: object = main(["cost", *arguments])
    except SystemExit as ended:
        status = ended.code
    return (status, *capsys.readouterr())


def test_it_prints_the_bill_of_the_shape_that_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one client and ten types under the financial profile, by default."""
    assert _run(capsys) == (0, "\n".join([*cost(ws.FINANCIAL, Shape()).lines, ""]), "")
    given = ("--profile", "standard", "--clients", "50", "--types", "20", "--sent-types", "3", "--workers", "4")
    bill = cost(ws.STANDARD, Shape(clients=50, types=20, workers=4, sent_types=3))
    assert _run(capsys, *given) == (0, "\n".join([*bill.lines, ""]), "")
    assert _run(capsys, *given, "--json") == (0, f"{bill.to_json()}\n", "")


def test_it_prints_the_bill_of_the_lean_list(capsys: pytest.CaptureFixture[str]) -> None:
    """As a document."""
    status, out, err = _run(capsys, "--lean", "--json")
    assert (status, err) == (0, "")
    total = json.loads(out)["total"]
    assert tuple(total.values()) == cost(ws.FINANCIAL, Shape(), ws.statsd_metrics(lean=True)).total


@pytest.mark.parametrize("option", ["clients", "types", "sent-types", "workers"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "", "1000001", "9" * 5000, "²"])
def test_an_unusable_number_is_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    """With what is allowed."""
    status, out, err = _run(capsys, f"--{option}={value}")
    assert (status, out) == (2, "")
    name = option.replace("-", "_")
    assert err.startswith(f"wsnova-statsd cost: {name} must be a whole number from 1 to 1000000, got ")
    assert err.count("\n") == 1
    assert len(err) < 200


def test_an_unknown_profile_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is counted."""
    status, out, err = _run(capsys, "--profile", "finacial")
    assert (status, out) == (2, "")
    assert "did you mean 'financial'?" in err
