"""Start the child: ``python launch.py <parent's process id> <file descriptor> <boot settings as JSON>``.

Run by its path, so that neither the farm nor what is installed beside it comes onto ComfyUI's ``sys.path``.
"""

import importlib.util
import json
import sys
from pathlib import Path

_PACKAGE = "myspinbot_comfy_host"


def _main() -> None:
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[_PACKAGE] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    serve = importlib.import_module(f"{_PACKAGE}.serve")
    serve.main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))


if __name__ == "__main__":
    _main()
