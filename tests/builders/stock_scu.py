"""An association of pynetdicom's own, for scanners and PACS of the tests, without the gap that loses an answer.

While `send_c_store` and its like wait for a response, pynetdicom's reactor is to stand still. Between its leave to go
on and its next look at the queue there is a gap: a reactor that is late there takes the response that somebody waits
for, and throws it away. The caller waits for its DIMSE timeout, aborts, and returns a Dataset without a Status.
"""

from __future__ import annotations

from typing import Any


def keeping_answers(association: Any) -> Any:
    """The association, whose reactor puts a response that it has taken back for the one who waits."""
    serve, answers = association._serve_request, association.dimse.msg_queue

    def serve_or_put_back(message: Any, context_id: int) -> None:
        if message.MessageIDBeingRespondedTo is None:
            serve(message, context_id)
        else:
            answers.put((context_id, message))

    association._serve_request = serve_or_put_back
    return association
