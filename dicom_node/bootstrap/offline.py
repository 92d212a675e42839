"""The main job without a network: a folder of DICOM to SR, SEG, pictures and `result.json` for each study."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from config.settings import Settings
from dicom_node.bootstrap.localiser import totalsegmentator
from dicom_node.collector import loading
from dicom_node.core.errors import BundleMismatch, EncodingInvalid, GeometryUnsupported
from dicom_node.core.finding import ResultKind
from dicom_node.core.identifiers import study_key
from dicom_node.ports import Clock, ResultEncoder

Progress = Callable[[str, float], None]
SOFTWARE_VERSION = version("cspine-node")


def make_encoder(
    settings: Settings, kinds_on_request: Callable[[], frozenset[ResultKind]] = frozenset
) -> ResultEncoder:
    """The encoder with this node's identity; `kinds_on_request` are asked for at each encoding."""
    from dicom_node.results.encoder import DicomResultEncoder

    return DicomResultEncoder(
        manufacturer="cspine-node project",
        software_version=SOFTWARE_VERSION,
        device_serial=settings.node.ae_title,
        language=settings.results.language,
        kinds_on_request=kinds_on_request,
    )


def analyse_folder(
    folder: Path, out: Path, settings: Settings, device: str, progress: Progress | None, clock: Clock | None = None
) -> list[dict[str, Any]]:
    """Analyse every study under `folder`; one folder a study in `out`. Returns the contract's result of each.

    A study that fails is a result with outcome "failed"; the others go on. Raises BundleMismatch.
    """
    with loading():
        from dicom_node.analysis.localiser import configured_localiser
        from dicom_node.analysis.study import group_by_series
        from dicom_node.bootstrap.store import SystemClock
        from dicom_node.results.tables import load_tables
        from inference.bundle import load_bundle
        from inference.bundle_files import BundleError
        from inference.headers import scan_folder
        from inference.pipeline import Pipeline, overall_device

        clock = clock or SystemClock()
        chosen_device = overall_device(device)
        try:
            bundle = load_bundle(settings.inference.bundle, chosen_device)
        except BundleError as error:
            raise BundleMismatch(str(error)) from error
        other = totalsegmentator(settings.inference, device)
        localiser = configured_localiser(None if other is None else asdict(other), None)
        pipeline = Pipeline(bundle, chosen_device, settings.inference.threads or None, localiser)
        encoder = make_encoder(settings)
        load_tables()
    scan = scan_folder(folder)
    by_study: dict[str, list[Any]] = {}
    for header in scan.instances:
        by_study.setdefault(header.study_instance_uid, []).append(header)
    return [
        _analyse_one(
            group_by_series(uid, headers),
            pipeline=pipeline,
            localiser=localiser,
            device=chosen_device,
            encoder=encoder,
            out=out / study_key(uid) if len(by_study) > 1 else out,
            progress=progress,
            clock=clock,
            language=settings.results.language,
        )
        for uid, headers in by_study.items()
    ]


def _analyse_one(
    study: Any,
    *,
    pipeline: Any,
    localiser: Any,
    device: str,
    encoder: ResultEncoder,
    out: Path,
    progress: Progress | None,
    clock: Clock,
    language: str,
) -> dict[str, Any]:
    from dicom_node.analysis.study import analyse_study
    from dicom_node.app.result_json import failed_json, result_json
    from dicom_node.core.selection import SelectionRules
    from dicom_node.results.report import write_report
    from inference.errors import LocaliserError

    out.mkdir(parents=True, exist_ok=True)
    started, started_at = time.perf_counter(), clock.now()
    try:
        result = analyse_study(
            study,
            pipeline=pipeline,
            rules=SelectionRules(),
            device=device,
            work_dir=out,
            progress=progress,
            localiser=localiser,
        )
        analysed = time.perf_counter()
        objects = encoder.encode(result, revision=1, created_at=started_at, out_dir=out)
        encoded = time.perf_counter()
        report = result_json(result, objects, encode_s=encoded - analysed, total_s=time.perf_counter() - started)
    except (GeometryUnsupported, EncodingInvalid, LocaliserError) as error:
        report = failed_json(study.study_instance_uid, str(error))
        write_report(report, (), out / "report.html", language=language)
    (out / "result.json").write_text(json.dumps(report, indent=2) + "\n")
    return report
