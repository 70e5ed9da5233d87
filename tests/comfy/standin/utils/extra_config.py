"""Stand-in: further model folders from a YAML file."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import yaml


def load_extra_path_config(yaml_path: str) -> None:
    """Each section: an optional ``base_path``, and folders by their kind, one a line."""
    for section in yaml.safe_load(Path(yaml_path).read_text()).values():
        base = Path(section.pop("base_path", Path(yaml_path).parent))
        for kind, folders in section.items():
            for folder in str(folders).splitlines():
                folder_paths.add_model_folder_path(kind, str(base / folder))
