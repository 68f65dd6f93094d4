"""HTTP without a framework: pure renderers, a table of routes, and the service that answers them.

    problems    every error a client can meet, one table          operations  a row → the Operation resource
    prefer      the Prefer field                                  cursor      opaque page marks
    messages    the Request and Response values                   watch       hints → wake-ups of held requests
    sse         frames, and the stream that resumes from the log  accept      a call → a 202
    service     what the routes need of an application            handlers    (service, request) → response
    routes      the table                                         asgi        the values ↔ ASGI
    reply       a result that is no JSON                          face        one configured face, for the integrations
    conditional preconditions and entity tags                     coding      a tag for each content coding
    patch       JSON Patch and merge patch, behind a guard        patched     a PATCH request → a valid document
    home        does this very machine ask

What a task may need from here is `Reply`, and `conditional.recheck` for a precondition that it has to keep.

No web framework is imported here; `offpath.integrations` translates.
"""

from .reply import Reply

__all__ = ["Reply"]
