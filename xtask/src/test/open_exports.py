"""Opens exports of a trace in the tools that they are for: Parquet in DuckDB and in
pandas, Perfetto's by Perfetto's own messages. Arguments: the folder with events.parquet,
readings.parquet, events.csv, readings.csv and trace.perfetto. The CSV says what is right."""

import csv
import pathlib
import sys

import duckdb
import pandas
from perfetto.protos.perfetto.trace import perfetto_trace_pb2

folder = pathlib.Path(sys.argv[1])


def wanted(table):
    """The CSV's rows: empty fields are None, numbers are numbers."""
    with open(folder / f"{table}.csv", newline="") as file:
        return [
            {
                name: None if field == "" else int(field) if field.isdigit() else field
                for name, field in row.items()
            }
            for row in csv.DictReader(file)
        ]


def check(what, found, right):
    if found != right:
        sys.exit(f"{what}: {found!r} is not {right!r}")


for table in ["events", "readings"]:
    rows = wanted(table)
    check(f"{table}: there are rows", len(rows) > 1, True)
    names = list(rows[0])
    path = str(folder / f"{table}.parquet")

    described = duckdb.sql(f"describe select * from '{path}'").fetchall()
    types = {name: kind for name, kind, *_ in described}
    check(f"DuckDB, {table}: columns", list(types), ["time"] + names)
    check(f"DuckDB, {table}: time_ns", types["time_ns"], "UBIGINT")
    check(f"DuckDB, {table}: time", types["time"].startswith("TIMESTAMP"), True)
    listed = ", ".join(f'"{name}"' for name in names)
    found = duckdb.sql(f"select {listed} from '{path}'").fetchall()
    check(f"DuckDB, {table}: rows", found, [tuple(row.values()) for row in rows])

    frame = pandas.read_parquet(path)
    check(f"pandas, {table}: columns", list(frame.columns), ["time"] + names)
    check(f"pandas, {table}: time", str(frame["time"].dtype), "datetime64[ns, UTC]")
    step = frame["time"].iloc[-1].value - frame["time"].iloc[0].value
    check(f"pandas, {table}: ns", step, rows[-1]["time_ns"] - rows[0]["time_ns"])
    for name in names:
        column = [None if pandas.isna(value) else value for value in frame[name]]
        check(f"pandas, {table}: {name}", column, [row[name] for row in rows])

trace = perfetto_trace_pb2.Trace()
trace.ParseFromString((folder / "trace.perfetto").read_bytes())
tracks = {}
instants = counters = 0
for packet in trace.packet:
    # What the schema does not know would be kept, and written again.
    known = perfetto_trace_pb2.TracePacket()
    known.CopyFrom(packet)
    known.DiscardUnknownFields()
    check("Perfetto: unknown fields", known.ByteSize(), packet.ByteSize())
    if packet.HasField("track_descriptor"):
        track = packet.track_descriptor
        check("Perfetto: parent", track.parent_uuid == 0 or track.parent_uuid in tracks, True)
        tracks[track.uuid] = track.HasField("counter")
        continue
    event = packet.track_event
    check("Perfetto: a track's kind", tracks[event.track_uuid], event.type == event.TYPE_COUNTER)
    if event.type == event.TYPE_COUNTER:
        counters += 1
    else:
        check("Perfetto: type", event.type, event.TYPE_INSTANT)
        instants += 1
check("Perfetto: operations", instants, len(wanted("events")))
readings = [value for row in wanted("readings") for name, value in row.items() if name != "time_ns"]
check("Perfetto: counters", counters, sum(value is not None for value in readings))
print(f"{instants} events and {len(wanted('readings'))} readings in DuckDB {duckdb.__version__}, "
      f"pandas {pandas.__version__} and Perfetto's messages")
