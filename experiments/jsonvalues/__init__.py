"""Python values as JSON and back, without silent changes. Pure; nothing of Django.

`pack` returns values that every JSON library, SQLite's text and PostgreSQL's jsonb preserve unchanged. A value that
plain JSON cannot hold becomes an object with one key, a tag:

    {"$float": "nan"}      NaN, infinities, -0.0, and floats from 1e16 on, which jsonb would turn into integers
    {"$text": "a\\u0000"}  text with NUL or half a surrogate pair, as JSON escapes
    {"$tuple": [...]}  {"$set": [...]}  {"$frozenset": [...]}  {"$bytes": "<base64>"}  {"$map": [[key, value], ...]}

A mapping that looks like a tag itself gets one more `$`. The last line is for checkpoints only (`keep_types`);
elsewhere tuples and sets become arrays, bytes base64 text, and keys that are numbers text, as in plain JSON.

A value with neither a JSON form nor a tag raises UnstorableValue with its path. So does a value that is nested too
deeply, contains itself, or is larger than allowed.
"""

from experiments.jsonvalues.packing import DEPTH_MAX, clean, pack, pack_leniently, shown
from experiments.jsonvalues.unpacking import document, unpack

__all__ = ["DEPTH_MAX", "clean", "document", "pack", "pack_leniently", "shown", "unpack"]
