"""Result objects to a peer by STOW-RS, one instance a request.

One a request, because an answer that is lost then leaves one object in doubt and not all of them, and because the
memory it takes is that of one object. Nothing is negotiated beforehand: everything counts as taken until the service
refuses it (0122 or A9xx in its Failed SOP Sequence, or 415), and then another kind may stand in, as over DIMSE.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping

import requests
import structlog
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.app.offer_objects import Offering, Response
from dicom_node.core.delivery import ObjectStatus
from dicom_node.core.errors import EncodingInvalid, PeerRefused, PeerUnreachable
from dicom_node.core.finding import ResultObject
from dicom_node.core.peer import Peer, StowEndpoint
from dicom_node.core.shipment import Plan, Shipment
from dicom_node.ports import Clock
from dicom_node.stow.answers import read_answer
from dicom_node.stow.session import open_session

log = structlog.get_logger(__name__)

# Their lines name studies.
for _name in ("dicomweb_client", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_CONNECT_S = 10.0


class StowSender:
    """`ports.ResultSender` over HTTP. `timeout_s` is how long the service may be silent before and while it answers."""

    def __init__(self, *, clock: Clock, timeout_s: float = 60.0, environ: Mapping[str, str] = os.environ) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._environ = environ

    def send(
        self,
        peer: Peer,
        shipment: Shipment,
        *,
        on_plan: Callable[[Plan], None],
        on_answer: Callable[[ObjectStatus], None],
    ) -> None:
        """The peer holds what it takes of the shipment; as `ports.ResultSender` says.

        Raises PeerRefused for an endpoint whose token is not there, EncodingInvalid for a file that is not DICOM.
        """
        endpoint = peer.stow
        if endpoint is None:
            raise PeerRefused(f"peer {peer.name!r} has no STOW-RS service")
        with open_session(peer, endpoint, self._environ) as session:
            service = _Service(peer, endpoint, session, timeout_s=self._timeout_s)
            offering = Offering(shipment=shipment, offer=service.store, clock=self._clock)
            offering.run(on_plan=on_plan, on_answer=on_answer)


class _Service:
    """The DICOMweb service of one peer."""

    def __init__(self, peer: Peer, endpoint: StowEndpoint, session: requests.Session, *, timeout_s: float) -> None:
        self.peer = peer
        self._url = endpoint.url
        self._answers: list[requests.Response] = []
        self._client = DICOMwebClient(
            url=endpoint.url,
            session=session,
            callback=self._note,
            chunk_size=1 << 30,  # in one piece: not every service takes chunked transfer encoding
            permissive_uid=True,
            timeout=(min(_CONNECT_S, timeout_s), timeout_s),
        )
        self._client.set_http_retry_params(retry=False)

    def __str__(self) -> str:
        return f"peer {self.peer.name!r} ({self._url})"

    def store(self, entry: ResultObject) -> Response:
        """The service's answer for one object. Raises PeerUnreachable, PeerBusy, PeerRefused, EncodingInvalid."""
        try:
            data_set = dcmread(entry.file)
        except (InvalidDicomError, OSError) as error:
            raise EncodingInvalid(f"{entry.file} cannot be read: {type(error).__name__}") from error
        self._answers.clear()
        try:
            self._client.store_instances([data_set], study_instance_uid=str(data_set.StudyInstanceUID))
        except (requests.ConnectionError, requests.Timeout) as error:
            raise PeerUnreachable(f"{self} cannot be reached: {_why(error)}") from error
        except (requests.RequestException, ValueError, KeyError) as error:
            # An error status, or a body that the library cannot read: what came is read here.
            if not self._answers:
                raise PeerUnreachable(f"{self} gave no answer: {type(error).__name__}") from error
        answer = self._answers[-1]
        log.info("instance_sent", peer=self.peer.name, sop_instance_uid=entry.sop_instance_uid, http=answer.status_code)
        return read_answer(str(self), answer.status_code, answer.content, entry.sop_instance_uid)

    def _note(self, response: requests.Response, *_: object, **__: object) -> requests.Response:
        self._answers.append(response)
        return response


def _why(error: Exception) -> str:
    """The kind of the error: its text repeats the URL and much else."""
    return type(error).__name__
