"""The programs of this host that plans need, and the Debian package of each. Data, and which recipe needs which."""

from collections.abc import Mapping
from dataclasses import dataclass

from sandboxfile.model.template import Recipe


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that some plans need; any of `programs` will do. They are names, or absolute paths to look at.

    `package` is Debian's; `purpose` ends the sentence "X is not installed, which …".
    """

    programs: tuple[str, ...]
    package: str
    purpose: str

    @property
    def name(self) -> str:
        """What people call it."""
        first, *others = [program for program in self.programs if not program.startswith("/")]
        return f"{first} (or {', '.join(others)})" if others else first


QEMU = Tool(("qemu-system-x86_64",), "qemu-system-x86", "runs the machines")
QBOOT = Tool(
    ("qboot.rom", "/usr/share/qemu/qboot.rom", "/usr/share/qboot/qboot.rom", "/usr/share/qboot/bios.bin"),
    "qemu-system-data",
    "is the machines' firmware",
)
JAIL = Tool(("bwrap",), "bubblewrap", "jails QEMU")
DISKS = Tool(("qemu-img",), "qemu-utils", "makes disks")
FILE_SERVER = Tool(
    (
        "virtiofsd",
        "/usr/libexec/virtiofsd",
        "/usr/lib/virtiofsd",
        "/usr/lib/qemu/virtiofsd",
        "/usr/libexec/qemu/virtiofsd",
    ),
    "virtiofsd",
    "serves workspaces (in Debian 12 it comes with QEMU)",
)
ID_MAPPER = Tool(("newuidmap",), "uidmap", "maps user ids")
EROFS = Tool(("mkfs.erofs",), "erofs-utils", "builds the disk of guest tools")
MODULES = Tool(("depmod",), "kmod", "indexes kernel modules")
ZSTD = Tool(("zstd",), "zstd", "packs the layers of images")
EXT4 = Tool(("mke2fs",), "e2fsprogs", "builds disk images")
BOOTSTRAP = Tool(("mmdebstrap",), "mmdebstrap", "builds Debian and Ubuntu roots")
REGISTRY = Tool(("skopeo",), "skopeo", "fetches images from registries")
BUILDER = Tool(("buildah", "podman", "docker"), "buildah", "builds Dockerfiles")
ENGINE = Tool(("podman", "docker", "buildah"), "podman", "has local images")

MACHINE = (QEMU, QBOOT, JAIL)
TOOLS = (*MACHINE, DISKS, FILE_SERVER, ID_MAPPER, EROFS, MODULES, ZSTD, EXT4, BOOTSTRAP, REGISTRY, BUILDER, ENGINE)


def tools_for(recipe: Recipe) -> tuple[Tool, ...]:
    """What builds an image. All steps but files run in a machine."""
    by_kind: Mapping[str, tuple[Tool, ...]] = {
        "debian": (BOOTSTRAP,),
        "ubuntu": (BOOTSTRAP,),
        "oci": (REGISTRY,),
        "local": (ENGINE,),
        "dockerfile": (BUILDER,),
    }
    machine = (*MACHINE, DISKS, ID_MAPPER) if recipe.steps else ()
    return (*by_kind.get(recipe.origin.kind, ()), ZSTD, EXT4, *machine)
