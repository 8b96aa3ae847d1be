"""Volumes as a program sees them: which there are, how large, who has them. A file makes them and makes them larger."""

from dataclasses import dataclass
from functools import partial

from sandboxfile import pipeline
from sandboxfile.api.applying import carry_out
from sandboxfile.api.blocking import blocking, explained
from sandboxfile.api.projects import Project
from sandboxfile.api.sandboxes import Sandbox
from sandboxfile.cli.project import this_layout
from sandboxfile.errors import NotFoundError
from sandboxfile.host.volumes import volume_ids, volume_use
from sandboxfile.model.plan import Plan
from sandboxfile.names import VolumeId
from sandboxfile.observe import observe_volumes


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as it was when it was looked at.

    In bytes: `size` as a sandbox sees it, None when unreadable; `used`: what it occupies on this host. `holder` is the
    sandbox that has it now.
    """

    id: VolumeId
    size: int | None
    used: int
    holder: Sandbox | None

    @property
    def name(self) -> str:
        return self.id.name

    def __str__(self) -> str:
        return str(self.id)

    def remove(self) -> None:
        """Delete it with what is on it. Raises PlanRefused when it belongs to a sandbox, NotFoundError when gone."""

        async def make() -> Plan:
            [plan] = await pipeline.make_volume_deletions([self.id], this_layout())
            return plan

        with explained():
            if self.id not in volume_ids(this_layout(), self.id.project):
                raise NotFoundError(f"there is no volume {self}", hint="`volumes()` lists them")
            blocking(partial(carry_out, make))


def volumes(project: Project | str | None = None) -> list[Volume]:
    """This user's volumes, or those of a project or the one of that name, sorted: those of no file any more as well."""
    layout = this_layout()
    of = project.name if isinstance(project, Project) else project
    return [
        Volume(each.id, each.size or None, volume_use(layout, each.id), Sandbox(each.holder) if each.holder else None)
        for each in blocking(partial(observe_volumes, layout, of))
    ]
