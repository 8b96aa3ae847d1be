"""What was built against what sandbox.lock expects of it: told, or refused where the lock is to hold. Pure."""

from sandboxfile.errors import BuildError
from sandboxfile.images.store import ImageInfo
from sandboxfile.model.template import DesiredTemplate

_DIGITS = 19  # of a digest, `sha256:` and 12
_TOLD = 3  # differences in a note; an error has all that are known


def hold_to_lock(template: DesiredTemplate, image: ImageInfo) -> str:
    """A note when the content is not the locked one, else nothing. Raises BuildError when the template is frozen."""
    different = image.different
    if different is None:
        return ""
    said = f"it came out as {image.content[:_DIGITS]} and was locked as {different.expected[:_DIGITS]}"
    lines = [f"/{path}: {what}" for path, what in different.paths]
    if template.frozen:
        raise BuildError(
            f"template {template.name} is not what sandbox.lock has: {said}",
            hint="sbx template lock --update takes it as it is now",
            output="\n".join(lines),
        )
    return f"not as sandbox.lock has it: {said}{': ' if lines else ''}{'; '.join(lines[:_TOLD])}"
