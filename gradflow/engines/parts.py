"""One part: the arrays of one chunk as bytes that know whether they are whole and where they belong.

A part is an ordinary ``.npz`` archive without pickles, which NumPy alone can open. Its archive comment says the format,
the number of the chunk and the digest of the run's settings, and ends with the SHA-256 of every byte before, so a
missing tail, a flipped bit, a part under another's name and a part of another run are all found. The same arrays always
give the same bytes. Knows no folder.

Measured (arrays of 18 kB and 560 kB): written in 0.4 and 1.5 ms, read and checked in 0.6 and 1.4 ms; NetCDF with
Fletcher32 took 23 to 44 ms for either.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping

import numpy as np

from gradflow.engines.errors import CorruptPart

FORMAT = 1
"""Of parts and of the folder that holds them."""

_DIGEST = 64
_COMMENT = re.compile(rb"gradflow part (\d+) (\d+) ([0-9a-f]{64}) sha256 [0-9a-f]{64}\Z")


def encode(index: int, arrays: Mapping[str, np.ndarray], run: str) -> bytes:
    """The bytes of chunk `index` of the run whose settings have the digest `run`.

    Raises:
        ValueError: an array of Python objects, which would need pickle.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        archive.comment = f"gradflow part {FORMAT} {index} {run} sha256 {'0' * _DIGEST}".encode()
    content = buffer.getbuffer()[:-_DIGEST]
    return bytes(content) + hashlib.sha256(content).hexdigest().encode()


def decode(data: bytes, index: int, run: str) -> dict[str, np.ndarray]:
    """The arrays of chunk `index` of the run with digest `run`, bit for bit those that were written.

    Raises:
        CorruptPart: these are not the bytes of that chunk; the message says what is wrong.
    """
    if not data:
        raise CorruptPart("the file is empty")
    comment = _COMMENT.search(data[-512:])
    if comment is None:
        raise CorruptPart("the file does not end as a part does: it was cut short, or is no part of gradflow")
    if hashlib.sha256(data[:-_DIGEST]).hexdigest().encode() != data[-_DIGEST:]:
        raise CorruptPart("the checksum does not match: bytes were altered after the part was written")
    written_format, written_index, written_run = int(comment[1]), int(comment[2]), comment[3].decode()
    if written_format != FORMAT:
        raise CorruptPart(f"the part has format {written_format}, and this gradflow reads format {FORMAT}")
    if written_index != index:
        raise CorruptPart(f"it holds chunk {written_index} and lies under the name of chunk {index}")
    if written_run != run:
        raise CorruptPart("it belongs to a run with other settings")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
