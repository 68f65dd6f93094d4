"""E-mail over SMTP. A plain function: it knows nothing about jobs and can be awaited anywhere, in a trace or not."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import localtime
from urllib.parse import unquote, urlsplit

import aiosmtplib

from offpath import trace_headers

from .decisions import Email, is_mailbox

SENDER = Address("Accounts", "accounts", "example.org")
TIMEOUT = 10.0  # seconds for each step of the conversation


async def deliver(email: Email, *, message_id: str, smtp_url: str) -> None:
    """Hand one message to the server; any refusal raises (aiosmtplib.SMTPException, OSError), and so does an address
    that is none (ValueError).

    `message_id` is the part before the @. A caller who may come twice passes the same one, so that whoever receives
    the message can tell a repeat from a second message. Where we are in a trace the message names it in a header
    `traceparent`, for whoever asks where it came from; `tracestate` is for our own systems and stays at home.
    """
    for to in email.to:
        if not is_mailbox(to):
            raise ValueError(f"{to!r} is not one e-mail address")
    message = EmailMessage(policy=SMTP)
    message["From"] = SENDER
    message["To"] = [Address(addr_spec=to) for to in email.to]
    message["Subject"] = email.subject
    message["Date"] = localtime()
    message["Message-ID"] = f"<{message_id}@accounts.example.org>"
    if traceparent := trace_headers().get("traceparent"):
        message["traceparent"] = traceparent
    message.set_content(email.text)

    url = urlsplit(smtp_url)
    refused, _ = await aiosmtplib.send(
        message,
        sender=SENDER.addr_spec,
        recipients=list(email.to),  # who gets it is what we say, and not what someone reads in the header
        hostname=url.hostname or "127.0.0.1",
        port=url.port,
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        use_tls=url.scheme == "smtps",
        local_hostname="accounts.example.org",
        timeout=TIMEOUT,
    )
    if refused and len(refused) == len(email.to):
        raise aiosmtplib.SMTPException("the mail server refused every recipient")
