"""workflow add, check, list, run: on files, and with a FAKE ComfyUI where one is run."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from myspinbot_worker.comfy import engines
from myspinbot_worker.comfy.engine import Catalog, NodeFailed
from tests.comfy.catalogs import CATALOG
from tests.comfy.fake_engine import FakeComfy
from tests.comfy.prompts import node, scaled

from .command_line import one_line, run_in
from .processes import ROOT

EXAMPLES = str(ROOT / "examples" / "workflows")


def cli(*arguments: str, **env: str) -> Result:
    return run_in({"REDIS_URL": "redis://127.0.0.1:1/0", **env}, "workflow", *arguments)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "my export (1).json"
    path.write_text(json.dumps(scaled()))
    return path


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    path = tmp_path / "object_info.json"
    path.write_text(json.dumps(CATALOG))
    return str(path)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeComfy:
    engine = FakeComfy()
    monkeypatch.setattr(engines, "comfy_engine", lambda settings: engine)
    return engine


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Image.new("RGB", (8, 4), "red").save(tmp_path / "red.png")
    return str(tmp_path / "red.png")


class TestAdd:
    def test_what_is_added_passes_the_check(self, export: Path, tmp_path: Path, catalog: str) -> None:
        folder = tmp_path / "new" / "workflows"
        result = cli("add", str(export), "--into", str(folder), "--id", "image.mine", "--catalog", catalog)
        assert result.exit_code == 0, result.output
        assert "inputs.imageArtifact: the image of node 1 (LoadImage)" in result.output
        assert f"Then: myspinbot-worker workflow check {folder}" in result.output
        assert sorted(path.name for path in folder.iterdir()) == [
            "my-export-1.capability.yaml",
            "my-export-1.workflow.json",
        ]
        assert (folder / "my-export-1.workflow.json").read_bytes() == export.read_bytes()
        checked = cli("check", str(folder), "--catalog", catalog)
        assert (checked.exit_code, checked.stdout) == (0, "my-export-1 (image.mine): ok\n")

    def test_nothing_is_overwritten(self, export: Path, tmp_path: Path) -> None:
        (tmp_path / "my-export-1.capability.yaml").write_text("mine")
        assert "is there already" in one_line(cli("add", str(export), "--into", str(tmp_path)), 1)
        assert (tmp_path / "my-export-1.capability.yaml").read_text() == "mine"
        assert not (tmp_path / "my-export-1.workflow.json").exists()

    def test_for_programs(self, export: Path, tmp_path: Path) -> None:
        result = cli("add", str(export), "--json", COMFYUI_WORKFLOWS_DIR=str(tmp_path))
        found = json.loads(result.stdout)
        assert found["id"] == "workflow.my-export-1"
        assert found["binding"]["outputs"] == {"imageArtifact": {"node": "3", "bucket": "output"}}
        assert all(Path(path).exists() for path in found["files"])

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"nodes": [], "links": []}, "export it with 'Export (API)'"),
            ({"1": node("LoadImage", image="x.png")}, "no node of it saves anything"),
            ([], "expected an object of nodes"),
        ],
    )
    def test_an_export_that_is_none(self, content: Any, said: str, export: Path, tmp_path: Path) -> None:
        export.write_text(json.dumps(content))
        assert said in one_line(cli("add", str(export), "--into", str(tmp_path)), 1)

    def test_wrong_options(self, export: Path, tmp_path: Path) -> None:
        assert "COMFYUI_WORKFLOWS_DIR" in one_line(cli("add", str(export)), 2)
        for service in ("noDot", "a b.c", "../x.y", "x." + "y" * 100):
            result = cli("add", str(export), "--id", service, "--into", str(tmp_path))
            assert result.exit_code == 2
            assert "is no service id" in result.stderr
        assert cli("add", str(tmp_path / "none.json")).exit_code == 2


class TestCheck:
    def test_the_examples(self, catalog: str) -> None:
        result = cli("check", EXAMPLES, "--catalog", catalog)
        assert (result.exit_code, result.stdout) == (
            0,
            "enlarge (image.enlarge): ok\ninvert (image.invert): ok\n",
        )
        without = cli("check", EXAMPLES)
        assert without.exit_code == 0
        assert "were not looked at" in without.stderr

    def test_everything_that_is_wrong(self, tmp_path: Path, catalog: str) -> None:
        broken = {**scaled(upscale_method="magic"), "9": node("FaceRestore", x=1)}
        (tmp_path / "a.workflow.json").write_text(json.dumps(broken))
        (tmp_path / "a.capability.yaml").write_text(
            "id: a.b\noutputs: {x: {node: 3}}\npacks: [{name: facerestore_cf, url: 'https://x.y', classes: [Face*]}]"
        )
        (tmp_path / "b.workflow.json").write_text("{")
        (tmp_path / "c.workflow.json").write_text(json.dumps(scaled()))
        (tmp_path / "c.capability.yaml").write_text("id: a.c\noutputs: {x: {nod: 3}}\nkind: tpu")
        result = cli("check", str(tmp_path), "--catalog", catalog)
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [
            "a (a.b): 2 wrong",
            "  error: node 2 (ImageScale), input 'upscale_method': "
            "'magic' is none of nearest-exact, bilinear, area, bicubic, lanczos",
            "  error: node 9 (FaceRestore): this ComfyUI has no node class 'FaceRestore': "
            "install the pack facerestore_cf (https://x.y)",
            "b: 1 wrong",
            "  error: b.capability.yaml is missing beside it",
            "c: 3 wrong",
            "  error: kind: expected 'cpu' or 'gpu'",
            "  error: outputs.x.node: it is required and missing",
            "  error: outputs.x.nod: unknown key (did you mean node?)",
        ]
        found = json.loads(cli("check", str(tmp_path), "--catalog", catalog, "--json").stdout)
        assert (found["ok"], found["catalog"]) == (False, True)
        assert [one["node"] for one in found["workflows"][0]["problems"]] == ["2", "9"]

    def test_one_file(self, export: Path, catalog: str) -> None:
        assert cli("check", str(export), "--catalog", catalog).exit_code == 0
        assert (
            cli("check", f"{EXAMPLES}/invert.capability.yaml").stdout
            == "invert.capability.yaml (image.invert): ok\n"
        )
        export.write_text(
            json.dumps({**scaled(), "4": node("SaveImage", images=["1", 0], filename_prefix="/etc/x")})
        )
        result = cli("check", str(export))
        assert result.exit_code == 1
        assert "input 'filename_prefix': '/etc/x' is an absolute path" in result.stdout

    def test_an_empty_folder_and_the_settings(self, tmp_path: Path) -> None:
        assert "no workflow found" in cli("check", str(tmp_path)).stdout
        assert cli("check", COMFYUI_WORKFLOWS_DIR=EXAMPLES).stdout.count(": ok") == 2
        assert "COMFYUI_WORKFLOWS_DIR" in one_line(cli("check"), 2)

    def test_wrong_options(self, tmp_path: Path, catalog: str) -> None:
        assert (
            "do not go together" in cli("check", EXAMPLES, "--catalog", catalog, "--url", "http://x").stderr
        )
        assert "--url: expected http" in one_line(cli("check", EXAMPLES, "--url", "file:///etc/passwd"), 2)
        assert "cannot reach ComfyUI" in one_line(cli("check", EXAMPLES, "--url", "http://127.0.0.1:1"), 1)
        (tmp_path / "bad.json").write_text("[]")
        assert "not a catalog" in one_line(cli("check", EXAMPLES, "--catalog", str(tmp_path / "bad.json")), 2)
        assert "max_workflow_bytes" in cli("check", EXAMPLES, COMFYUI_MAX_WORKFLOW_BYTES="10").stdout


def test_list(tmp_path: Path) -> None:
    result = cli("list", EXAMPLES)
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        "service",
        "image.enlarge",
        "image.invert",
    ]
    assert "width, height, method\timageArtifact\timageArtifact" in result.stdout
    found = json.loads(cli("list", EXAMPLES, "--json").stdout)
    assert [one["id"] for one in found["workflows"]] == ["image.enlarge", "image.invert"]
    assert found["workflows"][0]["params"]["width"]["maximum"] == 8192
    (tmp_path / "b.workflow.json").write_text("{")
    assert "Warning: b.workflow.json: b.capability.yaml is missing" in cli("list", str(tmp_path)).stderr


class TestRun:
    FILE = f"{EXAMPLES}/enlarge.workflow.json"

    def test_a_picture(self, fake: FakeComfy, picture: str, tmp_path: Path) -> None:
        into = tmp_path / "out"
        arguments = (
            "run",
            self.FILE,
            "--param",
            "width=32",
            "--param",
            "height=16",
            "--input",
            f"imageArtifact={picture}",
            "--into",
            str(into),
        )
        result = cli(*arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"imageArtifact\t{into}/imageArtifact.png\n"
        with Image.open(into / "imageArtifact.png") as found:
            assert found.size == (32, 16)
        assert fake.closed
        assert "is there already" in one_line(cli(*arguments), 2)
        assert len(fake.ran) == 1
        again = json.loads(cli(*arguments, "--overwrite", "--json").stdout)
        assert again["outputs"] == {"imageArtifact": [f"{into}/imageArtifact.png"]}
        assert set(again["nodeSeconds"]) == {"3"}
        assert again["cached"] == ["1", "2"]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--param", "widht=3"), "--param: the workflow has no widht (did you mean width?)"),
            (("--input", "sound=x.wav"), "--input: the workflow has no sound; it has imageArtifact"),
            (("--param", "width=0"), "--param width: Input should be greater than or equal to 16"),
            (("--param", "width=wide"), "--param width: Input should be a valid integer"),
            (("--param", "method=magic"), "--param method: Input should be"),
            (("--input", "imageArtifact=/none/x.png"), "there is no file /none/x.png"),
        ],
    )
    def test_wrong_params_and_inputs(
        self, arguments: tuple[str, ...], said: str, fake: FakeComfy, picture: str
    ) -> None:
        given = (
            arguments
            if "imageArtifact=/none/x.png" in arguments
            else (*arguments, "--input", f"imageArtifact={picture}")
        )
        assert said in one_line(cli("run", self.FILE, *given), 2)
        assert fake.ran == []

    def test_wrong_options(self, fake: FakeComfy, picture: str, tmp_path: Path) -> None:
        assert "--input imageArtifact=PATH is missing" in one_line(cli("run", self.FILE), 2)
        assert "expected name=value" in cli("run", self.FILE, "--param", "width").stderr
        assert "given twice" in cli("run", self.FILE, "--param", "width=1", "--param", "width=2").stderr
        assert "cannot be read" in one_line(cli("run", str(tmp_path / "none.workflow.json")), 1)

    def test_what_can_go_wrong(
        self, fake: FakeComfy, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = ("run", self.FILE, "--input", f"imageArtifact={picture}", "--into", str(tmp_path / "out"))
        fake.fails_with = NodeFailed("node 3 raised ValueError: no")
        assert one_line(cli(*arguments), 1) == "node 3 raised ValueError: no"
        fake.fails_with = None
        fake.pictures = 2
        assert "wrote 2 files" in one_line(cli(*arguments), 1)
        missing: Catalog = {name: info for name, info in CATALOG.items() if name != "ImageScale"}
        monkeypatch.setattr(fake, "catalog", lambda: missing)
        assert "no node class 'ImageScale'" in one_line(cli(*arguments), 1)
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())

    def test_without_a_comfyui(self, picture: str) -> None:
        assert "no ComfyUI" in one_line(cli("run", self.FILE, "--input", f"imageArtifact={picture}"), 1)

    def test_ctrl_c_interrupts_the_prompt(self, fake: FakeComfy, picture: str, tmp_path: Path) -> None:
        prompt = {**scaled(), "4": node("Wait", images=["1", 0], steps=100_000)}
        prompt["3"]["inputs"]["images"] = ["4", 0]
        (tmp_path / "s.workflow.json").write_text(json.dumps(prompt))
        (tmp_path / "s.capability.yaml").write_text(
            "id: a.b\ninputs: {i: {node: 1, input: image}}\noutputs: {x: {node: 3}}"
        )
        node_of = fake._node
        pressed: list[bool] = []

        def press(*arguments: Any) -> Any:
            if not pressed:
                pressed.append(True)
                os.kill(os.getpid(), signal.SIGINT)
            return node_of(*arguments)

        fake._node = press  # type: ignore[method-assign, assignment]
        result = cli(
            "run", str(tmp_path / "s.workflow.json"), "--input", f"i={picture}", "--into", str(tmp_path)
        )
        assert (result.exit_code, result.stdout) == (130, "")
        assert fake.closed


@pytest.mark.parametrize("name", ["add", "check", "list", "run"])
def test_help_teaches(name: str) -> None:
    text = cli(name, "--help").stdout
    assert "Example:\n" in text
    assert f"myspinbot-worker workflow {name}" in text
    assert "--json" in text
