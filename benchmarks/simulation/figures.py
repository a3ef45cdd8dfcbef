"""What became of the alerts of a simulated day."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from benchmarks.simulation.traffic import find_tag
from tests.support.dependencies import TWILIO_SECRET

if TYPE_CHECKING:
    from benchmarks.simulation.day import Day

REPORT_START = "Recipient "
MAX_DUPLICATE_SHARE = 0.01
MAX_REQUESTS = 3.0


class Figures:
    """The figures of a day. Each sign-in of it wants one alert: a text to every recipient.

    A text that tells the other recipients of a failed one is a report. It brings the alert too, but
    is no duplicate.
    """

    def __init__(self, day: Day) -> None:
        self._day = day
        self._tags = {sign_in.tag for sign_in in day.sign_ins}
        self._wanted_count = len(self._tags) * len(TWILIO_SECRET["recipients"])
        by_source = {sign_in.source: sign_in for sign_in in day.sign_ins}
        texts = list(day.twilio.texts.values())
        self._arrivals = [  # tag and time, in the order of acceptance
            (find_tag(text.body, by_source), text.accepted_at)
            for text in texts
            if text.error_code is None
        ]
        alert_texts = [text for text in texts if not text.body.startswith(REPORT_START)]
        self._accepted = Counter(
            (find_tag(text.body, by_source), text.recipient) for text in alert_texts
        )
        self.report_count = len(texts) - len(alert_texts)
        self._posts: Counter[tuple[str, str]] = Counter()
        for (body, recipient), count in day.twilio.posts.items():
            self._posts[find_tag(body, by_source), recipient] += count
        self._email_times: dict[str, float] = {}  # of the first e-mail of each alert
        for email, sent_at in zip(day.topic.emails, day.topic.times, strict=True):
            self._email_times.setdefault(find_tag(email["Message"], by_source), sent_at)

    @property
    def lost_count(self) -> int:
        """Alerts of which no text arrived at anybody."""
        return len(self._tags - {tag for tag, _ in self._arrivals})

    @property
    def unaccepted_count(self) -> int:
        """Alerts of which Twilio accepted no text."""
        return len(self._tags - {tag for tag, _ in self._accepted})

    @property
    def unmailed_count(self) -> int:
        """Alerts without an e-mail."""
        return len(self._tags - self._email_times.keys())

    @property
    def missing_count(self) -> int:
        """Recipients for whom Twilio accepted no text of an alert."""
        return self._wanted_count - len(self._accepted)

    @property
    def duplicate_count(self) -> int:
        """Texts accepted beyond one for each recipient and alert."""
        return sum(self._accepted.values()) - len(self._accepted)

    @property
    def duplicate_share(self) -> float:
        """The duplicates as a share of the texts that were wanted."""
        return self.duplicate_count / self._wanted_count

    @property
    def requests(self) -> float:
        """Requests to send texts or to look for them, for each alert: the mean."""
        return self._day.twilio.request_count / len(self._tags)

    @property
    def max_requests(self) -> int:
        """Requests to send texts to one recipient about one alert: the most."""
        return max(self._posts.values(), default=0)

    def list_delays(self) -> list[float]:
        """Return the seconds from each sign-in to the first text that arrived, sorted."""
        return self._list_delays(self._find_first_times())

    def list_email_delays(self) -> list[float]:
        """Return the seconds from each sign-in to its e-mail, sorted."""
        return self._list_delays(self._email_times)

    def _list_delays(self, times: dict[str, float]) -> list[float]:
        """Return the seconds from each sign-in to its time in ``times``, by tag; sorted."""
        return sorted(
            times[sign_in.tag] - sign_in.seconds
            for sign_in in self._day.sign_ins
            if sign_in.tag in times
        )

    def list_delays_after_outage(self) -> list[float]:
        """Return the same for the sign-ins in Twilio's outage, but counted from its end."""
        first_times = self._find_first_times()
        begin, end = self._day.twilio.outage
        return sorted(
            first_times[sign_in.tag] - end
            for sign_in in self._day.sign_ins
            if begin <= sign_in.seconds < end and sign_in.tag in first_times
        )

    def _find_first_times(self) -> dict[str, float]:
        """Return the time of the first text that arrived, by tag."""
        first_times: dict[str, float] = {}
        for tag, accepted_at in self._arrivals:
            first_times.setdefault(tag, accepted_at)
        return first_times

    @property
    def are_within_limits(self) -> bool:
        """Whether the last line of the report holds."""
        has_few_duplicates = self.duplicate_share <= MAX_DUPLICATE_SHARE
        return self.lost_count == 0 and has_few_duplicates and self.requests <= MAX_REQUESTS

    def list_lines(self) -> list[str]:
        """Return the report; its last line has the figures that have limits."""
        day, function = self._day, self._day.function
        return [
            f"function: {_join(function.counts)}, longest run {function.longest_seconds:.1f} s",
            *(f"{name}: {_join(queue.counts)}" for name, queue in day.queues.items()),
            f"bus: {_join(day.bus.counts)}; trail: {_join(day.trail.counts)}",
            f"answers of Twilio: {_join(day.twilio.faults)}",
            f"problems logged: {_join(day.logged_problems)}",
            f"texts: {sum(self._accepted.values())} accepted, {self.duplicate_count} duplicates",
            f"recipients without a text: {self.missing_count}",
            f"texts to the others about a failed one: {self.report_count}",
            f"alerts of which Twilio accepted no text: {self.unaccepted_count}",
            f"requests to one recipient about one alert: at most {self.max_requests}",
            f"e-mails: {len(day.world.topic.emails)}; alerts without one {self.unmailed_count}",
            f"e-mail: {_describe(self.list_email_delays())} after the sign-in",
            f"first text: {_describe(self.list_delays())} after the sign-in",
            f"after the outage: {_describe(self.list_delays_after_outage())} from its end",
            self._make_last_line(),
        ]

    def _make_last_line(self) -> str:
        """Return the figures that have limits."""
        duplicates = f"duplicates {self.duplicate_share:.2%} <= {MAX_DUPLICATE_SHARE:.0%}"
        requests = f"requests an alert {self.requests:.2f} <= {MAX_REQUESTS:.0f}"
        return f"lost {self.lost_count}, {duplicates}, {requests}"


def _describe(delays: list[float]) -> str:
    """Return the median, the 99th percentile and the longest of sorted delays as a text."""
    if not delays:
        return "never"
    middle, late = (delays[int(len(delays) * share)] for share in (0.5, 0.99))
    return f"half within {middle:.0f} s, 99 % within {late:.0f} s, all within {delays[-1]:.0f} s"


def _join(counts: Counter[str]) -> str:
    """Return counts as a text: "429 12, slow 5"; "none" without any."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
