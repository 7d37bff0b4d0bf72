"""What is inside a container before it starts: the uploads, its views of Volumes, its environment and arguments."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modal_proto import api_pb2 as api

from .records import Container, World
from .volumes import View

if TYPE_CHECKING:
    from .pool import Pool

HOME = "/root"  # where Modal puts local sources
SANDBOX = [sys.executable, "-I", "-S", str(Path(__file__).with_name("sandbox.py"))]
SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/dev", "/sys"]


def prepare(pool: Pool, container: Container, socket: Path) -> list[str]:
    """Lay a container out under its folder; returns the command that starts it. Blocking."""
    world, definition = pool.world, container.definition.definition
    folder, root = container.folder, container.folder / "root"
    for name in (HOME, "/tmp", "/var/tmp", "/run", "/__modal"):
        (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for name in ("/tmp", "/var/tmp"):
        (root / name.lstrip("/")).chmod(0o1777)
    image_env, workdir = _lay_out_image(world, definition.image_id, root)
    for mount_id in definition.mount_ids:
        _lay_out(world, world.mounts.get(mount_id, []), root, "/")
    container.log.touch()
    arguments = _arguments(pool, container)
    (root / "__modal" / "arguments").write_bytes(arguments.SerializeToString())
    links, binds = _system()
    binds.append([str(socket), "/__modal/worker.sock", False])
    for mount in definition.volume_mounts:
        view = View(world.volumes[mount.volume_id], folder / "volumes" / mount.volume_id)
        view.reload()
        container.views[mount.volume_id] = view
        binds.append([str(view.path), mount.mount_path, mount.read_only])
    spec = {
        "root": str(root),
        "parent": os.getpid(),
        "links": links,
        "binds": binds,
        "cwd": workdir or HOME,
        "argv": [sys.executable, "-m", "modal._container_entrypoint"],
        "env": {**_environment(container), **image_env, **pool.env, **_secret_env(world, definition)},
        "pid_file": str(folder / "pid"),
    }
    (folder / "spec.json").write_text(json.dumps(spec))
    return [*SANDBOX, str(folder / "spec.json")]


def in_system(path: str) -> bool:
    """Whether a path in a container lies in what it shares with the host, where nothing may be written."""
    return any(Path(path).is_relative_to(name) for name in SYSTEM)


def _environment(container: Container) -> dict[str, str]:
    """Nothing of the host's environment comes along: what a container needs it gets from its image or its secrets."""
    env = {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": HOME,
        "PYTHONUNBUFFERED": "1",
        "MODAL_IS_REMOTE": "1",
        "MODAL_SERVER_URL": "unix:///__modal/worker.sock",
        "MODAL_TASK_ID": container.task_id,
        "MODAL_IMAGE_ID": container.definition.definition.image_id,
        "MODAL_ENVIRONMENT": "main",
        "MODAL_HEARTBEAT_INTERVAL": "5",
        "MODAL_CONTAINER_ARGUMENTS_PATH": "/__modal/arguments",
    }
    if not container.gpu:
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def _secret_env(world: World, definition: api.Function) -> dict[str, str]:
    return {key: value for secret in definition.secret_ids for key, value in world.secrets[secret].items()}


def _arguments(pool: Pool, container: Container) -> api.ContainerArguments:
    function = container.definition
    layout = pool.layout(function.app)
    known = {entry.object_id for entry in layout.objects}
    for dependency in function.definition.object_dependencies:
        object_id = dependency.object_id
        if object_id in pool.world.volumes:
            layout.objects.add(object_id=object_id, volume_metadata=pool.volume_metadata(object_id))
        elif object_id not in known:
            layout.objects.add(object_id=object_id)
    return api.ContainerArguments(
        task_id=container.task_id,
        function_id=container.function_id,
        app_id=function.app.app_id,
        function_def=function.definition,
        environment_name="main",
        app_layout=layout,
    )


def _lay_out(world: World, files: list[api.MountFile], root: Path, prefix: str) -> None:
    for file in files:
        target = root / f"{prefix}/{file.filename}".lstrip("/")
        if in_system(f"/{target.relative_to(root)}"):
            raise RuntimeError(f"cannot upload into the host's folders: {file.filename}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(world.root / "files" / file.sha256_hex, target)
        if file.mode:
            target.chmod(file.mode & 0o777)


def _lay_out_image(world: World, image_id: str, root: Path) -> tuple[dict[str, str], str]:
    """What needs no build: copied local files, ENV, WORKDIR. All other commands of the image are ignored."""
    image = world.images.get(image_id)
    if image is None:
        return {}, ""
    env: dict[str, str] = {}
    workdir = ""
    for base in image.base_images:
        env, workdir = _lay_out_image(world, base.image_id, root)
    for command in image.dockerfile_commands:
        word, _, rest = command.partition(" ")
        if word == "COPY" and rest.startswith(". ") and image.context_mount_id:
            _lay_out(world, world.mounts[image.context_mount_id], root, rest.removeprefix(". ").strip())
        elif word == "ENV" and (match := re.match(r"(\w+)=(.*)", rest, re.DOTALL)) and "$" not in match[2]:
            env[match[1]] = "".join(shlex.split(match[2]))
        elif word == "WORKDIR":
            workdir = shlex.split(rest)[0]
            (root / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return env, workdir


def _system() -> tuple[dict[str, str], list[list[Any]]]:
    """The host's system folders and this interpreter, at their own paths; nothing else of the host can be seen."""
    links = {name: os.readlink(name) for name in SYSTEM if Path(name).is_symlink()}
    shown = [name for name in SYSTEM if Path(name).is_dir() and name not in links]
    for prefix in (sys.base_prefix, sys.prefix, str(Path(sys.base_prefix).resolve())):
        if not any(Path(prefix).is_relative_to(name) for name in shown):
            shown.append(prefix)
    return links, [[name, name, False] for name in shown]
