"""Stand-in: the arguments, read when this is imported."""

import argparse

import comfy.options

parser = argparse.ArgumentParser()
parser.add_argument("--listen", default="127.0.0.1")
parser.add_argument("--port", type=int, default=8188)
parser.add_argument("--cpu", action="store_true")
for _name in ("input", "output", "temp", "user"):
    parser.add_argument(f"--{_name}-directory")
parser.add_argument("--extra-model-paths-config", nargs="+", action="append", default=[])
parser.add_argument("--disable-api-nodes", action="store_true")
parser.add_argument("--front-end-root")
parser.add_argument("--database-url", default="")

args = parser.parse_args() if comfy.options.args_parsing else parser.parse_args([])
