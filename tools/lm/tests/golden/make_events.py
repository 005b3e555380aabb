"""Writes events.tfevents with TensorBoard's own messages and records; ../it/events.rs writes the same bytes.

    pip install tensorboard; python make_events.py
"""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

START = 1_700_000_000.25


def scalars(at, step, values):
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in values]
    return Event(wall_time=at, step=step, summary=Summary(value=values))


with open(Path(__file__).parent / "events.tfevents", "wb") as file:
    writer = RecordWriter(file)
    for event in [
        Event(wall_time=START, file_version="brain.Event:2"),
        Event(wall_time=START, step=300, session_log=SessionLog(status=SessionLog.START)),
        scalars(START + 1, 300, [("train/loss", 0.1), ("train/learning_rate", 2e-4)]),
        scalars(START + 2, 301, [("train/loss", 1e-30), ("eval/exact_match", 1.0)]),
    ]:
        writer.write(event.SerializeToString(deterministic=True))
