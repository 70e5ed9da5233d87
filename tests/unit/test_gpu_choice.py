"""Which devices there are, and the rule that chooses between them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myspinbot_worker.errors import ConfigError
from myspinbot_worker.gpu import Choose, Keep, NoDevice, decide, list_devices
from tests.unit.gpu_claims import descriptors as descriptors
from tests.unit.gpu_claims import no_torch as no_torch


@pytest.mark.parametrize("spec", ["", "  ", "none", "None", " NONE "])
def test_no_devices_when_asked_for_none(spec: str) -> None:
    assert list_devices(spec) == []


@pytest.mark.parametrize(
    ("spec", "devices"),
    [
        ("0", ["0"]),
        ("3,1", ["3", "1"]),
        (" 0 , 1 ,GPU-uuid", ["0", "1", "GPU-uuid"]),
        ("10", ["10"]),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"]),
        ("MIG-GPU-8932f937/1/2,MIG-c7", ["MIG-GPU-8932f937/1/2", "MIG-c7"]),
    ],
)
def test_an_explicit_list_is_taken_in_its_order(spec: str, devices: list[str]) -> None:
    assert list_devices(spec) == devices


@pytest.mark.parametrize(
    "spec",
    ["0,", ",", "0,,1", "-1", "00", "1.0", "cuda:0", "all", "0 1", "GPU-", "0,0", "../x", "0,none", "0\n,a"],
)
def test_a_malformed_list_names_the_setting(spec: str) -> None:
    with pytest.raises(ConfigError, match="FARM_GPU_DEVICES"):
        list_devices(spec)


def machine(root: Path, *, known: int = 0, nodes: tuple[str, ...] = ()) -> dict[str, Path]:
    """Folders as the NVIDIA driver makes them; a folder without entries is not there at all."""
    proc_gpus, dev = root / "gpus", root / "dev"
    for index in range(known):
        (proc_gpus / f"0000:{index:02x}:00.0").mkdir(parents=True)
    for name in nodes:
        dev.mkdir(exist_ok=True)
        (dev / name).touch()
    return {"proc_gpus": proc_gpus, "dev": dev}


@pytest.mark.parametrize(
    ("known", "nodes", "expected"),
    [
        pytest.param(0, (), [], id="no driver"),
        pytest.param(2, ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"), ["0", "1"], id="two"),
        pytest.param(0, ("nvidiactl", "nvidia-uvm", "nvidia-modeset", "null"), [], id="control nodes only"),
        pytest.param(4, (), ["0", "1", "2", "3"], id="nodes not made yet"),
        pytest.param(0, ("nvidia0", "nvidia10"), ["0", "1"], id="proc hidden"),
        pytest.param(4, ("nvidia2", "nvidiactl"), ["0"], id="container that was given the third of four"),
        pytest.param(1, ("nvidia0", "nvidia1"), ["0"], id="a node left over from a removed device"),
    ],
)
def test_auto_counts_what_the_driver_shows(
    tmp_path: Path, known: int, nodes: tuple[str, ...], expected: list[str]
) -> None:
    assert list_devices("auto", env={}, **machine(tmp_path, known=known, nodes=nodes)) == expected


@pytest.mark.parametrize(("value", "expected"), [("none", []), ("void", []), ("all", ["0"]), ("", ["0"])])
def test_auto_finds_nothing_in_a_container_that_asked_for_nothing(
    tmp_path: Path, value: str, expected: list[str]
) -> None:
    folders = machine(tmp_path, known=1, nodes=("nvidia0",))
    assert list_devices("Auto", env={"NVIDIA_VISIBLE_DEVICES": value}, **folders) == expected


def test_auto_needs_no_driver_on_this_machine() -> None:
    assert all(name.isdecimal() for name in list_devices())


@pytest.mark.parametrize("visible", ["", " ", "-1", "-1,0", ",0", "NoDevFiles"])
def test_a_value_that_hides_every_device_is_kept_and_means_cpu(visible: str) -> None:
    assert decide(visible, ["0", "1"]) == Keep(visible=visible, device="cpu", marks=())


@pytest.mark.parametrize(
    ("visible", "marks"),
    [("1", ("1",)), ("1,0", ("0", "1")), (" 1 ", ("1",)), ("7", ()), ("GPU-a", ()), ("0,-1", ("0",))],
)
def test_a_value_that_shows_devices_is_kept_and_marked(visible: str, marks: tuple[str, ...]) -> None:
    assert decide(visible, ["0", "1"]) == Keep(visible=visible, device="cuda", marks=marks)


def test_nothing_to_choose_without_devices() -> None:
    assert decide(None, []) == NoDevice()
    assert decide(None, [], torch_imported=True) == NoDevice()


def test_choosing_after_torch_is_too_late() -> None:
    with pytest.raises(RuntimeError, match="torch was imported before"):
        decide(None, ["0"], torch_imported=True)


def test_keeping_after_torch_is_fine() -> None:
    assert isinstance(decide("0", ["0"], torch_imported=True), Keep)


@given(
    st.none() | st.text(alphabet="0123-,GPU ", max_size=8),
    st.lists(st.sampled_from(["0", "1", "2", "GPU-a"]), max_size=6),
)
def test_the_rule_in_general(visible: str | None, devices: list[str]) -> None:
    match decide(visible, devices):
        case Keep() as kept:
            assert kept.visible == visible
            assert set(kept.marks) <= set(devices)
            assert kept.device == "cuda" or not kept.marks
        case Choose(candidates=candidates):
            assert visible is None
            assert len(set(candidates)) == len(candidates)
            assert set(candidates) == set(devices)
            assert candidates[0] == devices[0]
        case NoDevice():
            assert visible is None
            assert not devices
