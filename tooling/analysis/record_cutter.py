"""Cuts a large log into records without decoding them, and finds those that are not sign-ins.

It takes CloudTrail's own form, ``{"Records": [...]}`` and nothing else. Of each record only its
names are read: ``read`` of the function decides by the event source and the event name alone what
is not a sign-in. All other records are decoded, to be judged: these are the hits. Records that may
be something else are hits too: with a ``detail`` or a whole record in a field, without a name, or
with one that is not a string. The numbers in a decoded record may differ from json's; nothing
judges or prints them.

msgspec refuses what Python's json refuses, and some things that it accepts (NaN, halves of
surrogates). It accepts two things that json refuses, which are looked for here: bytes that are not
UTF-8, and numbers of more digits than Python converts. Wherever the two may differ, ``cut`` returns
None, and the caller decodes the file with json, which also locates what is broken.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from signwatch.detection.signin import NotASignIn, read
from tooling.analysis.containers import LAMBDA_SOURCE_PREFIX

LOG_START = b'{"Records":'
DIGITS_STEP = 2048  # Python converts numbers of up to 4,300 digits, more than two steps
TWO_DIGITS = re.compile(rb"(?=[0-9]{2})")
MAX_PAIRS = 1 << 14  # of event source and name, whose class is remembered


class Names(msgspec.Struct, gc=False):
    """The fields of a record by which it is sorted. A field that is missing is UNSET."""

    eventSource: Any = msgspec.UNSET  # noqa: N815 - CloudTrail's name
    eventName: Any = msgspec.UNSET  # noqa: N815 - CloudTrail's name
    eventID: Any = msgspec.UNSET  # noqa: N815 - CloudTrail's name
    Records: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    detail: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    CloudTrailEvent: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    eventJson: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815 - CloudTrail's name
    message: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="@message", default=msgspec.UNSET)


class LogOfNames(msgspec.Struct, forbid_unknown_fields=True):
    """A log file, of whose records only the names are decoded."""

    Records: list[Names]


class LogOfTexts(msgspec.Struct, forbid_unknown_fields=True):
    """A log file, whose records are not decoded."""

    Records: list[msgspec.Raw]


_names_decoder = msgspec.json.Decoder(LogOfNames)
_texts_decoder = msgspec.json.Decoder(LogOfTexts)
_value_decoder = msgspec.json.Decoder()


def cut(data: bytes) -> list[object] | None:
    """Return the records of a log file in order; None if it must be decoded as a whole.

    Records that are not sign-ins are returned as lists of Names, one list for all that follow each
    other. A hit is returned as a JSON object: ``[[Names, Names], {"eventName": ...}, [Names]]``.
    """
    if not data.startswith(LOG_START) or _has_huge_number(data):
        return None
    try:
        if not data.isascii():
            data.decode()
        records = _names_decoder.decode(data).Records
        if not records:
            return None  # what an empty log is, the caller decides
        hits = _find_hits(records)
        texts = _texts_decoder.decode(data).Records if hits else []
        values = [_value_decoder.decode(texts[index]) for index in hits]
    except (ValueError, TypeError, RecursionError):  # ValueError: of msgspec and of UTF-8
        return None
    pieces: list[object] = []
    start = 0
    for index, value in zip(hits, values, strict=True):
        if start < index:
            pieces.append(records[start:index])
        pieces.append(value)
        start = index + 1
    if start < len(records):
        pieces.append(records[start:])
    return pieces


def _has_huge_number(data: bytes) -> bool:
    """Return whether the data may hold a number of more digits than Python converts.

    Only one byte in DIGITS_STEP is looked at. Such a number is so long that it covers two of these
    bytes that follow each other, and all bytes between them.
    """
    samples = data[::DIGITS_STEP]
    for match in TWO_DIGITS.finditer(samples):
        start = match.start() * DIGITS_STEP
        if data[start : start + DIGITS_STEP].isdigit():
            return True
    return False


def _find_hits(records: list[Names]) -> list[int]:
    """Return the indexes of the hits: the records that must be decoded and judged.

    Raises TypeError if a name is an object or a list.
    """
    pairs = {(record.eventSource, record.eventName) for record in records}
    others = {pair for pair in pairs if _is_other(*pair)}
    missing = msgspec.UNSET
    return [
        index
        for index, record in enumerate(records)
        if (record.eventSource, record.eventName) not in others
        or record.eventID.__class__ is not str
        or record.Records is not missing
        or record.detail is not missing
        or record.CloudTrailEvent is not missing
        or record.eventJson is not missing
        or record.message is not missing
    ]


@functools.lru_cache(MAX_PAIRS)
def _is_other(source: object, name: object) -> bool:
    """Return whether a record with this event source and name certainly is not a sign-in.

    An event of one of Lambda's own sources is not even a record, so it is not certain.
    """
    if not isinstance(source, str) or not isinstance(name, str):
        return False
    if source.startswith(LAMBDA_SOURCE_PREFIX):
        return False
    return isinstance(read({"eventSource": source, "eventName": name}), NotASignIn)
