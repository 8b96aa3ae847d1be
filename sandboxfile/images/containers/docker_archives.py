"""What `docker save` and `podman save` write: one image, its layers compared with what its configuration says of them.

Everything read may be hostile, as in a layout. An archive of several images is refused: nobody says which is meant.
"""

from pathlib import Path

from sandboxfile.errors import BuildError
from sandboxfile.images.config import Fetched
from sandboxfile.images.containers import members
from sandboxfile.images.containers.layouts import LAYER_LIMIT, described
from sandboxfile.images.containers.members import Cancelled, Members
from sandboxfile.images.layers import tars


def read_saved(found: Members, cancelled: Cancelled) -> Fetched:
    """The only image there; its digest is that of its configuration, the image's id. Raises BuildError."""
    images = found.json("manifest.json")
    if not isinstance(images, list) or len(images) != 1:
        raise BuildError(f"{found.origin} does not hold exactly one image", hint="give an archive of one")
    image = members.as_object(images[0], found.origin)
    names = [image.get("Config"), *members.as_list(image.get("Layers"))]
    if len(names) > LAYER_LIMIT or not all(isinstance(name, str) for name in names):
        raise BuildError(f"{found.origin} is damaged: its manifest names no files")
    about, *layers = (members.plain_name(name) for name in names)
    with found.get(about).open("rb") as stream:
        digest, _ = members.copy(stream, None)
    said, contents = described(found, members.as_object(found.json(about), found.origin))
    if len(layers) != len(contents):
        raise BuildError(f"{found.origin} is damaged: its manifest and its configuration name different layers")
    paths = tuple(_checked(found, name, content, cancelled) for name, content in zip(layers, contents, strict=True))
    return Fetched(paths, said, digest, contents=tuple(contents))


def _checked(found: Members, name: str, content: str, cancelled: Cancelled) -> Path:
    """A layer that, uncompressed, is what the image's configuration says."""
    path = found.get(name)
    with tars.opened(path) as stream:
        if members.copy(stream, None, cancelled=cancelled)[0] != content:
            raise BuildError(f"{found.origin} is damaged: {name} is not what its digest says")
    return path
