"""Start, poll, result with a client generated from the OpenAPI document: `generated_client.py URL`, with the package
`accounts_client` on the path. Type-checked before it runs."""

import sys
from uuid import UUID

from accounts_client import AuthenticatedClient
from accounts_client.api.operations import delete_operation, get_operation, get_operation_result
from accounts_client.api.reports import start_report
from accounts_client.models import OperationAny, OperationReport, ProblemDocument, Report, ReportPost


def main(url: str) -> None:
    client = AuthenticatedClient(base_url=url, token="dev-alice", raise_on_unexpected_status=True)
    with client:
        started = start_report.sync(client=client, body=ReportPost(title="Sales", rows=3))
        assert isinstance(started, OperationReport), started
        id = UUID(started.id)
        looked = get_operation.sync(id, client=client, prefer="wait=20")
        assert isinstance(looked, OperationAny), looked
        assert looked.done, looked.status
        result = get_operation_result.sync(id, client=client)
        assert isinstance(result, dict), result
        assert result == looked.result
        report = Report.from_dict(result)
        assert (report.title, report.rows) == ("Sales", 3)
        assert delete_operation.sync_detailed(id, client=client).status_code == 204
        gone = get_operation.sync(id, client=client)
        assert isinstance(gone, ProblemDocument), gone
        assert gone.status == 404
        waited = start_report.sync(client=client, body=ReportPost(title="Stock", rows=2), prefer="wait=20")
        assert isinstance(waited, Report), waited
        assert (waited.title, waited.rows) == ("Stock", 2)
    print(report.url)


if __name__ == "__main__":
    main(sys.argv[1])
