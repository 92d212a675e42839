"""What the configuration and the test of a peer say in English, so that the peers' pages can say it otherwise.

As `sentences` does for the rest of the node; a test looks whether each key of a peer is here. What stands in braces is
whatever stands there.
"""

from __future__ import annotations

from dicom_node.catalogues import N_

_GROUPS = (
    N_("Who it is"),
    N_("What it gets"),
    N_("Who may come in its name"),
    N_("Who we are to it"),
    "TLS",
    "STOW-RS",
    N_("Attempts and waits"),
)

_LABELS = (
    N_("Name"),
    N_("AE title"),
    N_("Host"),
    N_("Port"),
    N_("May send images"),
    N_("Receives results"),
    N_("In use"),
    N_("Objects"),
    N_("Status reports"),
    N_("Storage commitment"),
    N_("Delivery hours"),
    N_("Urgent at any hour"),
    N_("Addresses"),
    N_("User name"),
    N_("User passcode (variable)"),
    N_("User passcode file"),
    N_("Our user name"),
    N_("Our user passcode (variable)"),
    N_("Our user passcode file"),
    N_("TLS CA file"),
    N_("TLS certificate SHA256"),
    N_("TLS server name"),
    N_("TLS check name"),
    N_("STOW URL"),
    N_("STOW CA file"),
    N_("STOW client certificate"),
    N_("STOW client key"),
    N_("STOW token (variable)"),
    N_("Attempts"),
    N_("Backoff initial (seconds)"),
    N_("Backoff factor"),
    N_("Backoff maximum (seconds)"),
    N_("Backoff jitter"),
    N_("Circuit failures"),
    N_("Circuit open (seconds)"),
    N_("Circuit open maximum (seconds)"),
    N_("Give up after (seconds)"),
    N_("Commitment timeout (seconds)"),
    N_("Commitment attempts"),
)

# config/receivers.py
_MEANINGS = (
    N_("Our name for it; unique in this file."),
    N_(
        "Its AE title, as it calls itself and as we call it. This, host and port are needed for every peer but one that"
        " only takes results by STOW-RS."
    ),
    N_("Its address or host name."),
    N_("Its TCP port for C-ECHO and C-STORE."),
    N_("Its associations are accepted."),
    N_("Results are delivered to it."),
    N_("Switched off, the entry is kept and treated as if it were not there."),
    N_(
        'Which objects it gets. "auto": SEG, SUSPICION_SEG, SR, TEXT_SR and SC, and where it does not accept one, the'
        " next that says the same (docs/RESULTS.md). A list without auto is meant to the letter;"
        ' ["auto", "PDF"] adds to auto.'
    ),
    N_("It also gets a text SR about a study that was not analysed, with the reason."),
    N_(
        "It is asked to commit to keep what it stored (PS3.4 annex J); associations on which it reports are accepted"
        " also without may_send. The results are kept here until it did."
    ),
    N_('When it takes deliveries, local time, as in "22:00-06:00"; empty: always.'),
    N_("A positive result does not wait for delivery_hours."),
    N_('Where its associations come from, in place of host: addresses and networks, as in "10.1.0.0/16".'),
    N_("User that its association requests must name (user identity negotiation, PS3.7 D.3.3.7)."),
    N_("Environment variable that holds that user's passcode; read at each association."),
    N_("Or the file that holds it and nothing else; read at each association."),
    N_("User that we name where we connect to it."),
    N_("Environment variable that holds our passcode there; read at each association."),
    N_("DICOM over TLS both ways: we connect to it so, and its associations are accepted only so."),
    N_(
        "PEM file of the authority that signed its certificate, or that certificate itself, for connecting to it;"
        " empty: node.tls.ca_file, or the system's."
    ),
    N_(
        "Its certificate, pinned by SHA-256 fingerprint: trusted without an authority where we connect to it, and its"
        " associations must show it."
    ),
    N_("Name that its certificate must bear where we connect to it; empty: its host."),
    N_("false: any name will do, if its authority signed the certificate."),
    N_("Results go by STOW-RS to this DICOMweb service (the part before /studies), not by C-STORE."),
    N_("PEM file of the authority that signed its certificate; empty: the system's."),
    N_("PEM file of our certificate, where asked for."),
    N_("PEM file of its key, without a passphrase."),
    N_("Environment variable that holds the bearer token; read at each attempt, never stored."),
    N_("As in [delivery], for this peer."),
)

# core/peer_test.py, dimse/troubles.py, dimse/offer.py
_TEST = (
    N_("unknown host"),
    N_("connection refused"),
    N_("not reachable"),
    N_("timeout"),
    N_("closed without an answer"),
    N_("no TLS"),
    N_("called AE title not recognised"),
    N_("calling AE title not recognised"),
    N_("rejected for now"),
    N_("rejected"),
    N_("no presentation context accepted"),
    N_("failure status"),
    N_("aborted"),
    N_("our own configuration"),
    N_("DICOMweb service"),
    N_("Check the name for typing errors, or write the address in its place."),
    N_(
        "The machine answers, but nothing listens on this port: check the port, and whether the peer's DICOM service"
        " runs."
    ),
    N_("Check the address and the network between the two machines."),
    N_("Nothing came back: a wrong address, a firewall on the way, or a peer that hangs."),
    N_(
        "Something listens there and hangs up: another program than a DICOM service, a peer that wants TLS, or one that"
        " knows us by another address."
    ),
    N_("Check whether the port is the one for TLS, and the certificates on both sides."),
    N_("The peer has another AE title than the one configured here."),
    N_("The peer does not know us: enter our AE title and address there."),
    N_("The peer has no room for another association now; try again."),
    N_("The peer's log says why."),
    N_("The peer takes the association but not this service."),
    N_("The file or the variable that is named must be there, and readable for the node."),
    N_("Check the URL, the certificate and the token."),
    N_("it closed the connection"),
    N_("no answer in {seconds} s"),
    N_("the name cannot be resolved"),
    N_("the peer answered status {status}"),
    N_("the service answered {status}"),
    N_("refused"),
    N_("refused without a reason"),
    N_("SOP class not supported"),
    N_("transfer syntax not supported"),
    N_("not accepted"),
)

# config/edits.py, config/peer_changes.py, app/manage_peers.py, app/peer_words.py
_EDITS = (
    N_("add {name}"),
    N_("edit {name}"),
    N_("remove {name}"),
    N_("edit by hand"),
    N_("rollback {version}"),
    N_("{name}: added ({place})"),
    N_("{name}: removed ({place})"),
    N_("{name}: renamed to {other}"),
    N_("the order of the peers"),
    N_("no peer is called {name}"),
    N_("no peer is called {name}; the configured are: {known}"),
    N_("{key} is a whole number, not {value}"),
    N_("{key} is a number, not {value}"),
)

PEER_SENTENCES = (*_GROUPS, *_LABELS, *_MEANINGS, *_TEST, *_EDITS)
