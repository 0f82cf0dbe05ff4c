"""Failures while tables are written: the error comes out, and nothing looks whole."""

import asyncio
import errno
import io

import pyarrow as pa
import pytest

from usage_async._client.files import write_batches
from usage_async._codec.formats import WRITERS

BATCH = pa.RecordBatch.from_pydict({"a": ["x", "y"], "b": [1, 2]})


class Full(io.BytesIO):
    """A disk with room for so many writes."""

    def __init__(self, room, failure):
        super().__init__()
        self.room, self.failure = room, failure

    def write(self, data):
        if not self.room:
            raise self.failure
        self.room -= 1
        return super().write(data)


class Slow(io.BytesIO):
    """A device that takes three bytes at a time."""

    def write(self, data):
        return super().write(data[:3])


class Screen(io.BytesIO):
    """A file that does not say how much it took."""

    def write(self, data):
        super().write(data)


async def batches(count, failure=None):
    for _ in range(count):
        yield BATCH
    if failure is not None:
        raise failure


async def written(file, form, source):
    await write_batches(file, source, BATCH.schema, dict, WRITERS[form])
    return file.getvalue()


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError()], ids=repr
)
async def test_a_full_disk_and_a_broken_pipe_come_out_as_they_are(form, failure):
    whole = await written(io.BytesIO(), form, batches(3))
    for room in range(100):
        file = Full(room, failure)
        (outcome,) = await asyncio.gather(written(file, form, batches(3)), return_exceptions=True)
        if outcome == whole:
            break
        assert outcome is failure
        assert whole.startswith(file.getvalue())
        assert file.getvalue() != whole
    assert outcome == whole
    assert room > 1


@pytest.mark.parametrize("form", WRITERS)
async def test_after_a_failure_no_end_is_written(form):
    whole = await written(io.BytesIO(), form, batches(2))
    file = io.BytesIO()
    with pytest.raises(ValueError, match="a bucket"):
        await written(file, form, batches(1, ValueError("a bucket")))
    assert whole.startswith(file.getvalue())
    if form == "arrow":
        with pa.ipc.open_stream(file.getvalue()) as reader:
            assert reader.read_next_batch() == BATCH
        assert not file.getvalue().endswith(whole[-8:])


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("kind", [Slow, Screen])
async def test_a_file_may_take_its_bytes_in_parts_or_not_say_how_many(form, kind):
    whole = await written(io.BytesIO(), form, batches(2))
    assert await written(kind(), form, batches(2)) == whole
