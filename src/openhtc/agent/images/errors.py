"""What can be wrong with an image."""


class ImageError(Exception):
    """The image cannot be used; the text is for the user who submitted the job.

    ``transient`` is true when a later attempt, or another node, may succeed: the registry did not
    answer, the disk is full.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient
