"""What can go wrong outside of the computation: the disk, the folder, the cluster.

Each of these ends a run and leaves every part written before as it is. A chunk that fails is none of them: it is a
value, :class:`gradflow.engines.ChunkFailure`.
"""

from gradflow import checks


class CorruptPart(checks.ResultsFileError):
    """A part file that is not what was written: cut short, altered, of another run or of another program."""


class FolderInUse(OSError):
    """Another process is writing to the run folder; the message names it."""


class OutOfSpace(OSError):
    """A part found no room: the disk, the quota or the limit on the size of files is reached."""


class ClusterError(ConnectionError):
    """The cluster cannot be used any more, or not at all: no scheduler, no workers, workers of another version."""
