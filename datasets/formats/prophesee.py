"""The text header that Prophesee's RAW and DAT files begin with: lines of ``% key value``.

Source: Metavision SDK, "RAW file format", https://docs.prophesee.ai/stable/data/file_formats/raw.html.
"""

from __future__ import annotations

import re

from spikeprop.datasets.formats.source import LINE_LIMIT, SensorSize, Source, is_text_line

_GENERATIONS = {"gen3": (640, 480, 2), "gen31": (640, 480, 2), "gen4": (1280, 720, 2)}
_GENERATIONS |= {"gen41": (1280, 720, 2), "imx636": (1280, 720, 2), "genx320": (320, 320, 2)}


def read_header(source: Source) -> dict[str, str]:
    """Read the header; keys in lower case. The source is then at the first byte of the data."""
    fields: dict[str, str] = {}
    while True:
        here = source.position
        line = source.line(LINE_LIMIT)
        # Data may begin with a per cent sign too: a line of the header is printable text.
        if not (line.startswith(b"% ") and is_text_line(line)):
            source.seek(here)
            return fields
        key, _, value = line[2:].decode("latin-1").strip().partition(" ")
        if key.lower() == "end":
            return fields
        fields[key.lower()] = value
        if len(fields) > 1000:
            return fields


def raw_format(header: dict[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return the encoding of a RAW file (``"EVT2"``, ``"EVT21"``, ``"EVT3"``) and its options."""
    name, *options = header.get("format", "").split(";")
    pairs = dict(option.partition("=")[::2] for option in options)
    if name:
        return name.upper().replace(".", ""), pairs
    version = header.get("evt")
    if version is None:
        return None, pairs
    return {"2.0": "EVT2", "2.1": "EVT21", "3.0": "EVT3"}.get(version, f"EVT {version}"), pairs


def sensor_size(header: dict[str, str], options: dict[str, str]) -> SensorSize:
    """Return the sensor that a header names, or None."""
    texts = (
        f"{options.get('width')}x{options.get('height')}",
        header.get("geometry", ""),
        f"{header.get('width')}x{header.get('height')}",
    )
    for text in texts:
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.strip())
        if found and int(found[1]) and int(found[2]):
            return int(found[1]), int(found[2]), 2
    named = " ".join(header.get(key, "") for key in ("plugin_name", "sensor_name", "generation"))
    plugin = re.search(r"(genx320|imx636|gen\d+)", named.lower())
    return _GENERATIONS.get(plugin[1]) if plugin else None
