"""What github3.py 4.0.1 cannot ask GitHub: workflows, runs, jobs, logs, runners, edits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from github3.exceptions import GitHubException, UnprocessableResponseBody, error_for
from github3.models import GitHubCore

from bot.clients import bounds

LISTED = 1_000  # runs, jobs or runners of a listing that are read
DETAILS = "return_run_details"  # of a workflow_dispatch: have its run's id answered
LOG_BYTES = 512 * 1024  # of a log's end that are kept
EDITS = """
query Edits($owner: String!, $name: String!, $number: Int!) {
  viewer { login }
  repository(owner: $owner, name: $name) {
    issue(number: $number) {
      userContentEdits(last: 50) { nodes { editedAt editor { login } } }
    }
  }
}
"""


class Actions(GitHubCore):  # type: ignore[misc]  # github3 has no types
    """A repository's workflows, runs, jobs, logs and runners: what github3.py 4.0.1 lacks."""

    def _update_attributes(self, named: Mapping[str, str]) -> None:
        self._home = ("repos", named["owner"], named["repo"])

    def address(self, *parts: object) -> str:
        """Of something within the repository."""
        return str(self._build_url(*self._home, *parts))

    def rows(self, key: str, *parts: object) -> Iterator[dict[str, Any]]:
        """A listing, page by page; `key` is where its rows are."""
        listing = self._iter(
            LISTED, self.address(*parts), dict, params={"per_page": 100}, list_key=key
        )
        yield from listing

    def one(self, *parts: object) -> dict[str, Any]:
        """One object."""
        answer: dict[str, Any] = self._json(self._get(self.address(*parts)), 200)
        return answer

    def do(self, url: str, data: Mapping[str, Any] | None = None) -> Any:
        """A POST: the body of its answer, None where there is none."""
        reply = self._post(url, data=data)
        if reply.status_code >= 400:
            raise error_for(reply)
        return _json_of(reply)

    def dispatch(self, event: str, payload: Mapping[str, Any]) -> None:
        """repository_dispatch; never tells which run it made. Answered with 204, nothing else."""
        body = {"event_type": event, "client_payload": payload}
        reply = self._post(self.address("dispatches"), data=body)
        if reply.status_code != 204:
            raise _not_taken(reply)

    def start(self, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        """workflow_dispatch; the run's id where this GitHub tells it, by 200 instead of 204.

        Sent once more only where GitHub named the wish for details as what it does not take:
        Enterprise servers up to 3.19 know no `return_run_details`. Any other refusal may have come
        from something in between, after the run began.
        """
        url = self.address("actions", "workflows", workflow, "dispatches")
        body = {"ref": ref, "inputs": inputs}
        reply = self._post(url, data={**body, DETAILS: True})
        if reply.status_code in (400, 422) and DETAILS in _message(reply):
            reply = self._post(url, data=body)
        if reply.status_code == 204:
            return None
        answer = _json_of(reply)
        if reply.status_code != 200 or not isinstance(answer, dict):
            raise _not_taken(reply)
        run_id = answer.get("workflow_run_id")
        return run_id if isinstance(run_id, int) else None

    def log(self, job_id: int) -> str:
        """The end of a job's log."""
        tail = bytearray()
        where = self.address("actions", "jobs", job_id, "logs")
        with bounds.within(bounds.LOG), self._get(where, stream=True) as reply:
            if reply.status_code in (404, 410):
                return ""  # not there yet, or not any more
            if reply.status_code >= 400:
                raise error_for(reply)
            for part in reply.iter_content(64 * 1024):
                tail += part
                del tail[:-LOG_BYTES]
        return tail.decode("utf-8", "replace")

    def edits(self, number: int) -> dict[str, Any]:
        """Who edited an issue's text: only GraphQL tells."""
        base = str(self.session.base_url)
        url = f"{base.removesuffix('/v3')}/graphql"
        variables = {"owner": self._home[1], "name": self._home[2], "number": number}
        answer = self.do(url, {"query": EDITS, "variables": variables})
        return answer if isinstance(answer, dict) else {}


def _json_of(reply: Any) -> Any:
    """An answer's JSON; None for anything else: it was done, and the rest can be looked up."""
    try:
        return reply.json() if reply.content else None
    except ValueError:
        return None


def _not_taken(reply: Any) -> GitHubException:
    """Why an answer does not say that an order was taken."""
    refused = reply.status_code >= 400
    error: GitHubException = (
        error_for(reply)
        if refused
        else UnprocessableResponseBody("no answer of GitHub's to an order", reply)
    )
    return error


def _message(reply: Any) -> str:
    """What a refusal says in GitHub's own form (`basic-error`); empty for any other."""
    answer = _json_of(reply)
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""
