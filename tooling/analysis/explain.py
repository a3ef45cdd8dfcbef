"""``invoke explain``: shows what the function would do with a person's own CloudTrail records.

The function's own modules judge them: ``read`` parses a record into a parsed event (SignIn, Step,
NotASignIn or Unreadable), ``judge`` returns the verdict on it (its level and its reasons), and
``compose_text`` the text of an alert. Nothing asks AWS, and each record is judged without the
others. An alert that the function sends once a day is therefore shown each time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from signwatch.alerting.message import compose_text
from signwatch.detection import networks as recognition
from signwatch.detection.signin import (
    DEVICE_CODE_GRANT,
    ParsedEvent,
    SignIn,
    Step,
    Unreadable,
    read,
    read_unfinished,
)
from signwatch.detection.verdict import (
    OTHER_FAILURES,
    RIGHT_PASSWORD,
    RIGHT_PASSWORDS,
    Verdict,
    format_cause,
    judge,
)
from tooling.analysis import record_files
from tooling.analysis.explain_report import ExplainedRecord, Report, Streams
from tooling.deploy.aws_ranges import is_aws_address
from tooling.errors import FailedError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Reasons that are added to a verdict, since the function also considers other events. A printed
# line shows at most 80 characters of a reason.
SENT_ONCE_A_DAY_REASON = "reported once a day; shown each time here"
MAILED_ONCE_A_DAY_REASON = (
    "mailed once a day, not where the person last signed in; shown each time here"
)
FAILURES_REASON = "mailed at the 1st, texted at the 3rd, 10th and so on; shown each time here"
COUNTED_REASON = "texted at the 1st, 3rd, 10th and so on; shown each time here"
CONSOLE_LINK_REASON = "counted with the console sign-in that follows; shown by itself here"
APPROVAL_REASON = "where it was approved is not known here"
UNFINISHED_NOTE = "noted if no sign-in follows within 15 minutes"
UNFINISHED = "alerts if no sign-in follows within 15 minutes"
UNFINISHED_ALERT = "only if no sign-in follows within 15 minutes; shown each time here"
FREED_BLOCK_BYTES = 30 << 20  # below the largest that glibc heeds, 32 MiB


@dataclass(frozen=True)
class Criteria:
    """The parameters of the stack by which records are judged and texts are composed."""

    networks: str  # the recognised ones, separated by commas
    allowed_endpoints: Sequence[str] = ()  # ids of VPC endpoints
    alert_off: Sequence[str] = ()  # names of causes that give no alert
    alert_on: Sequence[str] = ()  # names of causes that give an alert although others do not
    account_label: str = ""
    time_zone: str = ""


def choose_criteria(parameters: Mapping[str, str], networks: str | None) -> Criteria:
    """Return the criteria; ``networks`` overrides the parameter KnownNetworks unless it is None.

    Raises RefusedError if one of the networks is not an address or a range.
    """
    where = "--networks"
    if networks is None:
        where, networks = "parameter KnownNetworks", parameters.get("KnownNetworks", "")
    try:
        recognition.parse_list_strictly(networks)
    except ValueError as error:
        remedy = "write addresses and ranges like 203.0.113.0/24,2001:db8::/48, separated by commas"
        raise RefusedError(where, str(error), remedy) from error
    return Criteria(
        networks,
        allowed_endpoints=recognition.split_list(parameters.get("AllowedVpcEndpointIds", "")),
        alert_off=recognition.split_list(parameters.get("AlertOff", "")),
        alert_on=recognition.split_list(parameters.get("AlertOn", "")),
        account_label=parameters.get("AccountLabel", ""),
        time_zone=parameters.get("TimeZone", ""),
    )


def explain(record: record_files.FileRecord, criteria: Criteria) -> ExplainedRecord:
    """Judge one record as the function does if there is no other; compose the text of an alert."""
    parsed_event = read(record.value, is_aws_address)
    verdict = _judge(parsed_event, criteria)
    if isinstance(parsed_event, Step) and parsed_event.is_right_password:
        # The password was right. If no sign-in follows, the function judges this record as an
        # unfinished sign-in; if one follows, it ignores this record.
        unfinished = read_unfinished(record.value)
        verdict_if_unfinished = _judge(unfinished, criteria)
        if verdict_if_unfinished.level != "alert":
            verdict = _add_reason(verdict, UNFINISHED_NOTE)
        elif format_cause(RIGHT_PASSWORD) in criteria.alert_on:
            parsed_event = unfinished
            verdict = _add_reason(verdict_if_unfinished, UNFINISHED_ALERT)
        else:
            verdict = _add_reason(verdict, UNFINISHED)
    if _is_device_code(parsed_event):
        verdict = _add_reason(verdict, APPROVAL_REASON)
    text = ""
    if verdict.level == "alert":
        verdict = _add_reason(verdict, _describe_effect_of_other_events(verdict))
        if isinstance(parsed_event, (SignIn, Unreadable)):
            text = compose_text(
                parsed_event,
                verdict,
                label=criteria.account_label,
                zone=criteria.time_zone,
                known_networks=criteria.networks,
            )
    return ExplainedRecord(record, parsed_event, verdict, text)


def _judge(parsed_event: ParsedEvent, criteria: Criteria) -> Verdict:
    """Judge an event by the criteria. Only a sign-in can come from a recognised source."""
    is_recognised = isinstance(parsed_event, SignIn) and recognition.recognises_sign_in(
        recognition.parse_list(criteria.networks),  # its results are cached
        parsed_event.source,
        parsed_event.vpc_endpoint,
        criteria.allowed_endpoints,
    )
    return judge(
        parsed_event, recognised=is_recognised, off=criteria.alert_off, on=criteria.alert_on
    )


def _is_device_code(parsed_event: ParsedEvent) -> bool:
    """Return whether a device code was used, which somebody approved in the portal before."""
    if not isinstance(parsed_event, SignIn):
        return False
    return parsed_event.grant == DEVICE_CODE_GRANT and parsed_event.outcome == "success"


def _describe_effect_of_other_events(verdict: Verdict) -> str:
    """Return a reason that says how other events may change this alert; empty if they do not.

    An alert with a ``deduplication_key`` is sent once a day. One with a ``stream``, as a failed
    sign-in has, is counted together with others. ``grouped`` is "linked" for a console link, a URL
    that signs its reader in, which is counted together with the console sign-in after it.
    """
    if verdict.deduplication_key:
        return SENT_ONCE_A_DAY_REASON if verdict.send_text else MAILED_ONCE_A_DAY_REASON
    if verdict.grouped == "linked":
        return CONSOLE_LINK_REASON
    if verdict.stream == OTHER_FAILURES:
        return FAILURES_REASON
    is_counted = verdict.stream not in (
        "",
        RIGHT_PASSWORDS,
    )  # a right password has a reason already
    return COUNTED_REASON if is_counted else ""


def _add_reason(verdict: Verdict, reason: str) -> Verdict:
    """Return the verdict with one more reason; unchanged if ``reason`` is empty."""
    return verdict._replace(reasons=(*verdict.reasons, reason)) if reason else verdict


def run(
    paths: Sequence[str],
    criteria: Criteria,
    streams: Streams | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Show what the function would do with each record in the files at ``paths``.

    A path names a file, a folder, or standard input ("-"). ``streams`` replace those of the
    process. Raises RefusedError for a path that does not exist or has no record, FailedError if
    anything cannot be read.
    """
    files = record_files.find_files(paths)
    _keep_freed_memory()
    report = Report(streams or Streams.standard(), criteria.networks, as_json=as_json)
    non_empty_arguments: set[str] = set()  # those with a record or a problem in one of their files
    try:
        for file in files:
            if isinstance(file, record_files.FileProblem):
                report.add_problem(file)
            elif _explain_file(file, criteria, report):
                non_empty_arguments.add(file.argument)
        report.close()
    except BrokenPipeError:  # the reader of our output, such as head, has closed it
        _discard_output(report.streams.out)
        non_empty_arguments.update(paths)  # the other files were not read, so none counts as empty
    if report.problems:
        places = "1 place" if report.problems == 1 else f"{report.problems} places"
        what = f"{places} named above could not be read; everything else was judged"
        remedy = "follow the advice there, then run the same task again"
        raise FailedError("records", what, remedy)
    record_files.refuse_arguments_without_records(files, non_empty_arguments)


def _keep_freed_memory() -> None:
    """Let the memory that one file took be used for the next one, without asking the system.

    glibc gives it back after each file, which may take a sixth of the time, until a block of this
    size has been freed (mallopt, M_MMAP_THRESHOLD and M_TRIM_THRESHOLD). Other C libraries do not
    mind. The system sets nothing aside for a block that is not written.
    """
    bytes(FREED_BLOCK_BYTES)


def _explain_file(file: record_files.SourceFile, criteria: Criteria, report: Report) -> bool:
    """Add each record and problem of one file to the report; return whether there was any."""
    report.files += 1
    is_empty = True
    for item in record_files.read(file, report.streams.stdin):
        is_empty = False
        if isinstance(item, record_files.OtherRecords):
            report.add_other_records(item)
        elif isinstance(item, record_files.FileProblem):
            report.add_problem(item)
        else:
            report.add_record(explain(item, criteria))
    return not is_empty


def _discard_output(out: TextIO) -> None:
    """Connect ``out`` to the null device: Python flushes it at exit, and a closed pipe fails."""
    null_device = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_device, out.fileno())
    os.close(null_device)
