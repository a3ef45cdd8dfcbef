"""The steps of ``invoke secret``: read, let Twilio check, offer a trial text, store.

With ``--check``, the stored secret is read in place of a new one, and nothing is stored.

``live`` is the deployed stack. Its parameter TwilioBaseUrl says where Twilio is, for the function
as for this task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from tooling.deploy import secret, secret_questions, trial_texts
from tooling.deploy.phone_numbers import mask
from tooling.deploy.secret_questions import NOTHING_STORED, Terminal
from tooling.deploy.twilio_api import DEFAULT_BASE_URL, TwilioApi, TwilioError
from tooling.errors import FailedError, RefusedError, UnknownStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tooling.deploy.account import Account
    from tooling.deploy.stack import LiveStack

CACHE_MINUTES = 5  # SECRET_CACHE_SECONDS of the function: how long it keeps a secret that it read
ASKING = "Asking Twilio whether it accepts the key (this sends nothing) ..."
ONE_RECIPIENT_WARNING = (
    "Warning: one phone is one way to a person; confirm the e-mail too, or name a second phone."
)
UNCHECKED_REMEDY = "; or store it without asking Twilio: --unchecked"


def refuse_contradiction(*, check: bool, trial_text: bool, unchecked: bool) -> None:
    """Raise RefusedError if --unchecked is given with a flag that asks Twilio."""
    if unchecked and (check or trial_text):
        other = "--check" if check else "--trial-text"
        what = f"asks Twilio nothing, and {other} asks it"
        raise RefusedError("--unchecked", what, "leave one of them out")


def fill(
    aws: Account,
    live: LiveStack,
    stdin: TextIO | None,
    terminal: Terminal,
    *,
    trial_text: bool,
    unchecked: bool,
) -> list[str]:
    """Store the secret from questions on a terminal, else from JSON; return lines that say so.

    Raises RefusedError or FailedError if nothing was stored. No message contains a secret value.
    """

    def check_credentials(values: Mapping[str, str]) -> None:
        """Ask Twilio; raise TwilioError if it does not accept them."""
        if not unchecked:
            _ask_twilio(values, live, terminal.announce)

    if _is_terminal(stdin):
        with secret_questions.refuse_early_end():
            values = secret_questions.ask_for_secret(terminal, check_credentials)
            _offer_trial_texts(values, live, terminal, is_wanted=trial_text, unchecked=unchecked)
    else:
        terminal.announce("Reading one JSON object from standard input ...")
        values = secret.read_json(stdin)
        try:
            check_credentials(values)
        except TwilioError as error:
            remedy = error.remedy if error.is_refusal else error.remedy + UNCHECKED_REMEDY
            raise RefusedError("Twilio", f"{error.what}; {NOTHING_STORED}", remedy) from None
        failed = _send_trial_texts(values, live, terminal.announce) if trial_text else 0
        if failed:
            what = f"did not reach {failed} of {len(values['recipients'])}; {NOTHING_STORED}"
            remedy = "correct what Twilio names, or leave --trial-text out"
            raise FailedError("the trial texts", what, remedy)
    secret.put(aws, live.outputs["TwilioSecretArn"], values)
    return [
        f"The secret is stored. {_describe_recipients(values)}",
        f"A function that is running takes it up within {CACHE_MINUTES} minutes.",
    ]


def check_stored(
    aws: Account, live: LiveStack, announce: Callable[[str], None], *, trial_text: bool
) -> None:
    """Let Twilio check the stored secret, and say what it says; the secret is not shown.

    Raises FailedError if Twilio refuses it or a trial text, UnknownStateError if Twilio cannot be
    asked, and the errors of ``secret.load``.
    """
    values = secret.load(aws, live.outputs["TwilioSecretArn"])
    try:
        _ask_twilio(values, live, announce)
    except TwilioError as error:
        kind = FailedError if error.is_refusal else UnknownStateError
        raise kind("Twilio", error.what, error.remedy) from None
    announce(_describe_recipients(values))
    failed = _send_trial_texts(values, live, announce) if trial_text else 0
    if failed:
        what = f"did not reach {failed} of {len(values['recipients'])}"
        raise FailedError("the trial texts", what, "correct what Twilio names")


def _is_terminal(stdin: TextIO | None) -> bool:
    """Return whether a person can be asked; None and a closed stream are no terminal."""
    return stdin is not None and not stdin.closed and stdin.isatty()


def _make_api(values: Mapping[str, Any], live: LiveStack) -> TwilioApi:
    """Return Twilio's API as the function reaches it. Raises RefusedError for another address."""
    return TwilioApi(values, live.parameters.get("TwilioBaseUrl", DEFAULT_BASE_URL))


def _ask_twilio(
    values: Mapping[str, Any], live: LiveStack, announce: Callable[[str], None]
) -> None:
    """Say that Twilio accepts the credentials; raise TwilioError if it does not."""
    announce(ASKING)
    _make_api(values, live).list_one_message()
    announce("Twilio accepts the key.")


def _offer_trial_texts(
    values: Mapping[str, Any],
    live: LiveStack,
    terminal: Terminal,
    *,
    is_wanted: bool,
    unchecked: bool,
) -> None:
    """Ask whether to send trial texts, unless ``is_wanted`` or ``unchecked`` says so, and do it.

    Raises RefusedError if one failed and the person does not want to store the secret then.
    """
    count = len(values["recipients"])
    question = f"Send a trial text to each phone ({count}, at Twilio's price)?"
    if not (is_wanted or (not unchecked and terminal.confirm(question))):
        return
    failed = _send_trial_texts(values, live, terminal.announce)
    if failed and not terminal.confirm("Store the secret all the same?"):
        what = f"the trial texts did not reach {failed} of {count}; {NOTHING_STORED}"
        raise RefusedError("secret", what, "correct what Twilio names, then run the task again")


def _send_trial_texts(
    values: Mapping[str, Any], live: LiveStack, announce: Callable[[str], None]
) -> int:
    """Send the trial texts; return how many phones were not reached."""
    announce("Sending the trial texts ...")
    return trial_texts.send(_make_api(values, live), values, announce)


def _describe_recipients(values: Mapping[str, Any]) -> str:
    """Return a sentence with the recipients in their order, masked; warn of a single one."""
    recipients = values["recipients"]
    if len(recipients) == 1:
        return f"Texts go to 1 recipient: {mask(recipients[0])}. {ONE_RECIPIENT_WARNING}"
    masked = ", ".join(map(mask, recipients))
    return f"Texts go to {len(recipients)} recipients, in this order: {masked}."
