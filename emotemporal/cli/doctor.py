"""`emotemporal doctor`: say what is wrong with an installation, and what to do."""

# The standard library alone: it must answer whatever else is broken.
import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from emotemporal.cli.common import EXIT_FAILED, EXIT_OK, guarded
from emotemporal.doctor.checks import check_installation


@guarded
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="emotemporal doctor",
        description="Check packages, checkpoints, decoders, encoder, machine, and label a known face. "
        "Exit code 1 tells of a fault; warnings and notes do not count.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    options = parser.parse_args(argv)
    findings = []
    for finding in check_installation():
        findings.append(finding)
        if not options.json:
            advice = f"; {finding.advice}" if finding.advice else ""
            status = finding.status.upper() if finding.status == "fault" else finding.status
            print(f"{status:<8} {finding.name}: {finding.found}{advice}", flush=True)
    num_faults = sum(finding.status == "fault" for finding in findings)
    if options.json:
        print(json.dumps({"ok": not num_faults, "findings": [asdict(finding) for finding in findings]}))
    else:
        print(f"{num_faults} faults" if num_faults else "all is well")
    return EXIT_FAILED if num_faults else EXIT_OK
