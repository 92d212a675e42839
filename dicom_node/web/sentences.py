"""What the rest of the node says in English, so that the pages can say it in the reader's language.

`WORDS` are single words by the value they stand for. `SENTENCES` are the forms of sentences that use cases and the core
make; what stands in braces is whatever stands there, and is looked up again by itself. A sentence that is not here is
shown as it was said, so a form that is forgotten costs a reader a translation and nothing else.
"""

from __future__ import annotations

from dicom_node.catalogues import N_

WORDS = {
    # where a study stands
    "RECEIVING": N_("receiving"),
    "WAITING": N_("waiting"),
    "ANALYSING": N_("analysing"),
    "SENDING": N_("sending"),
    "DELIVERED": N_("delivered"),
    "NOT_APPLICABLE": N_("not applicable"),
    "NEEDS_ATTENTION": N_("needs attention"),
    # of deliveries and jobs
    "PENDING": N_("waits"),
    "RETRY_WAIT": N_("waits to be tried again"),
    "STORED": N_("stored"),
    "COMMIT_WAIT": N_("stored, waits for commitment"),
    "COMMITTED": N_("committed"),
    "FAILED": N_("failed"),
    "CANCELLED": N_("cancelled"),
    "QUEUED": N_("queued"),
    "RUNNING": N_("running"),
    "DONE": N_("done"),
    "SKIPPED": N_("skipped"),
    "SUPERSEDED": N_("superseded"),
    # of receivers
    "reachable": N_("reachable"),
    "failing": N_("failing"),
    "open": N_("left alone"),
    "objects": N_("objects"),
    "hl7": "HL7",
    "webhook": "webhook",
    # of quarantine
    "HELD": N_("waits for a decision"),
    "RELEASED": N_("released"),
    "DISCARDED": N_("discarded"),
    "conflicting_instance": N_("conflicting instance"),
    "unreadable": N_("unreadable"),
    "missing_uid": N_("missing UID"),
    "command_mismatch": N_("contradicts its command"),
    "unreadable_leftover": N_("unreadable leftover"),
    "damaged": N_("damaged"),
    "replaced": N_("replaced"),
    # roles
    "viewer": N_("viewer"),
    "operator": N_("operator"),
    "admin": N_("admin"),
    # verdicts
    "whole": N_("the cervical spine as a whole"),
    # drift
    "stable": N_("stable"),
    "watch": N_("to be watched"),
    "drifted": N_("drifted"),
}

SENTENCES = (
    # core/worklist.py
    N_("{count} instances so far"),
    N_("{count} instances so far; revision {revision} follows"),
    N_("the study is closed and has no analysis job"),
    N_("not applicable ({reason}); {told}"),
    N_("{peer} was not told: {failure}"),
    N_("waits for a free analysis worker"),
    N_("attempt {attempt} of the analysis is running"),
    N_("attempt {attempt} failed and will be repeated: {failure}"),
    N_("the analysis failed: {failure}"),
    N_("an operator cancelled the analysis; there is no result"),
    N_("analysed; no peer was set to receive results"),
    N_("every delivery was cancelled; no peer holds the result"),
    N_("stored at {peers}"),
    N_("to {peer}: attempt {attempt} failed, still trying: {failure}"),
    N_("to {peer}: {failure}"),
    N_("sending to {peer}"),
    N_("attempt {attempt} to {peer} failed and will be repeated: {failure}"),
    N_("waits for {peer}, which could not be reached: {failure}"),
    N_("waits to be sent to {peer}"),
    # web/auth/gate.py
    N_("There is nothing here."),
    N_("This is not for you: {name} is {role}; this needs {needed}. Nothing was changed."),
    N_("Another site made this request. Nothing was changed."),
    N_("The page is too old, or cookies are switched off. Load it again. Nothing was changed."),
    N_("The database does not answer. Nothing was changed."),
    N_("A form here has at most {bytes} bytes."),
    N_("This is no form of ours."),
    # core/account.py and app/accounts.py
    N_("a password has at least {least} characters, this one has {count}"),
    N_("a password has at most {most} characters"),
    N_("a password has at least {least} different characters"),
    N_("a password is more than the account's name"),
    N_(
        "{name} cannot be an account's name: 1 to 64 letters, digits and . _ @ + - , beginning with a letter or a digit"
    ),
    N_("there is an account {name} already"),
    N_("there is an account already: ask its admin for one of your own"),
    N_("there is no account {name}; `cspine-node users list` shows what there is"),
    N_("an empty password is none"),
    N_("a token lasts more than 0 and at most {most} days, not {days}"),
    N_("{name} is {role}: no token of it can be {wanted}"),
    # app/operator_actions.py
    N_("there is no delivery {delivery}"),
    N_("delivery {delivery} is {state}: there is nothing to cancel"),
    N_("delivery {delivery} is {state}: retry it instead"),
    N_("delivery {delivery} is {state}, not FAILED: it needs no retry"),
    N_(
        "delivery {delivery} is of revision {revision}, revision {newer} has a result: an older result is not sent"
        " after a newer one"
    ),
    N_("delivery {newer} has taken the place of delivery {delivery}"),
    N_("what delivery {delivery} says is no longer so: a newer result has taken its place"),
    N_("the files of delivery {delivery} are gone: run the analysis again"),
    N_("no delivery to {peer} has failed: nothing to retry"),
    N_("nothing keeps results from {peer}: it was reached when it was last tried"),
    N_("{what} was changed by the node at the same moment: look again"),
    # core/verdict.py and app/verdicts.py
    N_("there is no study {study} on this node"),
    N_("study {study} has no result to judge"),
    N_("the result of revision {revision} has taken the place of the one you saw: look again"),
    N_("{level} was not called, so it is no false positive"),
    N_("{level} was called, so it was not missed"),
    N_("{level} is no level of C1 to C7"),
    N_("a note has at most {most} characters, this one has {count}"),
)
