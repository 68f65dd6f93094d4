"""E-mail and HTTP calls as the other end sees them: real SMTP, real HTTP."""

import aiosmtplib
import httpx2
import pytest

from examples.accounts import mail, outgoing
from examples.accounts.decisions import Email
from examples.accounts.receivers import receivers
from offpath.tracing import continuing


async def test_an_email_arrives_as_it_was_meant() -> None:
    async with receivers() as (received, smtp_url, _):
        email = Email(to=("ada@example.org", "old@example.org"), subject="Grüße", text="Hello Zoë,\n\n.\nbye\n")
        await mail.deliver(email, message_id="job-1", smtp_url=smtp_url)
        [letter] = received.letters
    assert letter.id == "<job-1@accounts.example.org>"
    assert letter.to == ("ada@example.org", "old@example.org")
    assert letter.subject == "Grüße"
    assert letter.text.replace("\r\n", "\n") == "Hello Zoë,\n\n.\nbye\n"


async def test_a_refused_email_raises() -> None:
    async with receivers() as (received, smtp_url, _):
        received.refusing_mail = True
        with pytest.raises(aiosmtplib.SMTPException):
            await mail.deliver(Email(("a@example.org",), "s", "t"), message_id="1", smtp_url=smtp_url)
        assert not received.letters
        assert len(received.refused) == 1


async def test_no_mail_server_raises() -> None:
    async with receivers() as (_, smtp_url, _):
        pass
    with pytest.raises((aiosmtplib.SMTPException, OSError)):
        await mail.deliver(Email(("a@example.org",), "s", "t"), message_id="1", smtp_url=smtp_url)


async def test_a_post_carries_its_key() -> None:
    async with receivers() as (received, _, http_url), outgoing.client() as http:
        await outgoing.post(http, f"{http_url}/push", {"title": "hi"}, key="job-2")
        await outgoing.post(http, f"{http_url}/push", {"title": "hi"}, key="job-2")
        assert [(call.id, call.path, call.body) for call in received.calls] == [
            ('"job-2"', "/push", {"title": "hi"})
        ] * 2
        assert received.duplicates == 1


async def test_a_refused_post_raises() -> None:
    async with receivers() as (received, _, http_url), outgoing.client() as http:
        received.refusing_calls = True
        with pytest.raises(httpx2.HTTPStatusError):
            await outgoing.post(http, http_url, {}, key="1")
        assert not received.calls
    async with outgoing.client() as http:
        with pytest.raises(httpx2.ConnectError):
            await outgoing.post(http, http_url, {}, key="1")


async def test_who_gets_an_email_is_never_read_from_its_header() -> None:
    async with receivers() as (received, smtp_url, _):
        await mail.deliver(Email(("o'neil+x@sub.example.org",), "s", "t"), message_id="1", smtp_url=smtp_url)
        assert received.letters[-1].to == ("o'neil+x@sub.example.org",)
        for address in ("a,b@c.org", "<x@c.org", '"x@c.org', "x;y@[c", "a@b.org, c@d.org", "x@c.org\nBcc: y@c.org"):
            with pytest.raises(ValueError, match="not one e-mail address"):
                await mail.deliver(Email((address,), "s", "t"), message_id="1", smtp_url=smtp_url)
        assert len(received.letters) == 1


async def test_obs_04_what_is_sent_inside_a_trace_names_it() -> None:
    sent = "00-12345678901234567890123456789012-1234567890123456-01"
    async with receivers() as (received, smtp_url, http_url), outgoing.client() as http:
        for _ in range(2):
            with continuing(sent if received.calls else None, "inner=1"):
                await outgoing.post(http, http_url, {}, key="1")
                await mail.deliver(Email(("a@example.org",), "s", "t"), message_id="1", smtp_url=smtp_url)
    for first, second in (received.letters, received.calls):
        assert first.trace == ""
        assert second.trace.startswith("00-12345678901234567890123456789012-")
        assert second.trace != sent
