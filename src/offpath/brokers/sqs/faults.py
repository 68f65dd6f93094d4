"""What botocore raises, in our words."""

from __future__ import annotations

from ...errors import BrokerUnavailable, MissingExtraError

try:
    from aiohttp import ClientError as HttpError
    from botocore import exceptions as aws
    from botocore.parsers import ResponseParserError
except ImportError as e:
    raise MissingExtraError("an sqs:// broker", "sqs") from e

ANY_FAULT = (aws.BotoCoreError, aws.ClientError, ResponseParserError, HttpError, OSError, TimeoutError)
NO_QUEUE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
STALE = frozenset({"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"})
"""A receipt handle has been used or has run out: the message has been accepted, or is somebody else's."""
REFUSALS = frozenset(
    {
        "InvalidMessageContents",
        "InvalidParameterValue",
        "InvalidAttributeValue",
        "BatchRequestTooLong",
        "MissingParameter",
        "ValidationError",
        "UnsupportedOperation",
    }
)
CREDENTIALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def code(error: BaseException) -> str:
    """SQS's name for it; "" when SQS did not speak."""
    if not isinstance(error, aws.ClientError):
        return ""
    return bare(str(error.response.get("Error", {}).get("Code", "")))


def bare(said: str) -> str:
    """Without the namespace that some put before it (`com.amazonaws.sqs#QueueDoesNotExist`)."""
    return said.rpartition("#")[2]


def refusal(error: BaseException) -> bool:
    """Whether repeating the same changes nothing."""
    return isinstance(error, aws.ParamValidationError) or code(error).rpartition(".")[2] in REFUSALS


def denied(error: BaseException) -> bool:
    """Whether it knows us, and we may not do this to that queue."""
    return code(error).rpartition(".")[2] in ("AccessDenied", "AccessDeniedException", "KmsAccessDenied")


def unavailable(error: BaseException, where: str) -> BrokerUnavailable:
    """In one sentence, without the URL's secret (botocore does not know it by that name)."""
    return BrokerUnavailable(f"SQS at {where}: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    name = code(error)
    if name in CREDENTIALS:
        return f"turned the credentials down ({name})"
    if name:
        return f"{name}: {str(error).partition(': ')[2] or error}".splitlines()[0]
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"
    if isinstance(error, aws.ConnectTimeoutError | aws.ReadTimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, aws.SSLError):
        return "no secure connection could be agreed on (TLS)"
    if isinstance(error, aws.EndpointConnectionError | ConnectionRefusedError):
        return "nobody answers there"
    if isinstance(error, aws.ConnectionError | aws.HTTPClientError | HttpError | OSError):
        return "the connection broke"
    if isinstance(error, ResponseParserError):
        return "the answer is not SQS's"
    return (str(error).splitlines() or [type(error).__name__])[0]
