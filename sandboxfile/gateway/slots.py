"""How many connections there may be: so many of one sandbox, and so many of all, so that descriptors never run out."""

import resource

OF_ONE = 512
_EACH = 4  # descriptors: client, server, and what a slow dial tries beside it
_OTHER = 256  # descriptors for everything else


class Total:
    """The connections of all sandboxes."""

    def __init__(self, limit: int | None = None) -> None:
        """`limit`: None for what the process's own limit on descriptors allows."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = limit if limit is not None else max(OF_ONE // _EACH, (soft - _OTHER) // _EACH)
        self.taken = 0


class Slots:
    """The connections of one sandbox."""

    def __init__(self, total: Total, limit: int = OF_ONE) -> None:
        self._total = total
        self._limit = limit
        self.taken = 0

    def take(self) -> bool:
        """Whether there was one left; then it is taken."""
        if self.taken >= self._limit or self._total.taken >= self._total.limit:
            return False
        self.taken += 1
        self._total.taken += 1
        return True

    def free(self) -> None:
        """Give back what `take` gave."""
        self.taken -= 1
        self._total.taken -= 1
