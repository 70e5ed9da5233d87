"""Stand-in: where inputs, outputs and models are."""

from __future__ import annotations

import re
from pathlib import Path

base_path = str(Path(__file__).resolve().parent)
models_dir = str(Path(base_path, "models"))
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {
    "custom_nodes": ([str(Path(base_path, "custom_nodes"))], set()),
    "upscale_models": ([str(Path(models_dir, "upscale_models"))], {".pth", ".safetensors", ".pt"}),
}
_places = {name: str(Path(base_path, name)) for name in ("input", "output", "temp", "user")}


def set_input_directory(path: str) -> None:
    _places["input"] = path


def set_output_directory(path: str) -> None:
    _places["output"] = path


def set_temp_directory(path: str) -> None:
    _places["temp"] = path


def set_user_directory(path: str) -> None:
    _places["user"] = path


def get_input_directory() -> str:
    return _places["input"]


def get_output_directory() -> str:
    return _places["output"]


def get_temp_directory() -> str:
    return _places["temp"]


def get_user_directory() -> str:
    return _places["user"]


def get_directory_by_type(type_name: str) -> str | None:
    return _places.get(type_name)


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    folders, _ = folder_names_and_paths.setdefault(folder_name, ([], set()))
    if full_folder_path not in folders:
        folders.insert(0 if is_default else len(folders), full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    return list(folder_names_and_paths[folder_name][0])


def get_filename_list(folder_name: str) -> list[str]:
    folders, suffixes = folder_names_and_paths[folder_name]
    found = {
        str(file.relative_to(folder))
        for folder in folders
        for file in Path(folder).rglob("*")
        if file.is_file() and file.suffix.lower() in suffixes
    }
    return sorted(found)


def get_full_path(folder_name: str, filename: str) -> str | None:
    for folder in get_folder_paths(folder_name):
        if Path(folder, filename).is_file():
            return str(Path(folder, filename))
    return None


def get_annotated_filepath(name: str) -> str:
    """A file of the input folder, or of another that ``name [output]`` says."""
    file, _, place = name.partition(" [")
    return str(Path(_places[place.rstrip("]") or "input"], file))


def exists_annotated_filepath(name: str) -> bool:
    return Path(get_annotated_filepath(name)).is_file()


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Folder, base name, next free number, subfolder and the prefix again."""
    wanted = Path(filename_prefix)
    folder = (Path(output_dir) / wanted.parent).resolve()
    if not folder.is_relative_to(Path(output_dir).resolve()):
        raise Exception(f"{folder} is outside the output folder")
    folder.mkdir(parents=True, exist_ok=True)
    numbers = (re.match(re.escape(wanted.name) + r"_(\d+)_", file.name) for file in folder.iterdir())
    counter = max((int(found[1]) for found in numbers if found), default=0) + 1
    return (
        str(folder),
        wanted.name,
        counter,
        str(wanted.parent) if wanted.parent != Path() else "",
        filename_prefix,
    )
