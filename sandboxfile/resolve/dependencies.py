"""`depends_on` and `profiles` of a sandbox, with those of the defaults beneath. `language` has checked the names."""

from sandboxfile.model.desired import Dependency
from sandboxfile.resolve.scaling import Scaled


def dependencies_of(scaled: Scaled, name: str) -> tuple[Dependency, ...]:
    """What a sandbox waits for, sorted: each replica of what is scaled, and nothing where that is none.

    What the defaults say of the sandbox itself does not count: it is for the others.
    """
    file, service = scaled.file, scaled.service.get(name, name)
    beneath, own = file.defaults.depends_on, file.sandboxes[name].depends_on
    conditions = {other: spec.condition for other, spec in beneath.items()}
    # A map that says no condition leaves the defaults'; a list says `started`, as in Compose.
    conditions |= {o: s.condition for o, s in own.items() if o not in beneath or "condition" in s.model_fields_set}
    return tuple(
        sorted(
            Dependency(replica, condition)
            for other, condition in conditions.items()
            if other != service
            for replica in scaled.meant(other)
        )
    )


def profiles_of(scaled: Scaled, name: str) -> tuple[str, ...]:
    """The profiles of a sandbox, those of the defaults first."""
    file = scaled.file
    return tuple(dict.fromkeys((*file.defaults.profiles, *file.sandboxes[name].profiles)))
