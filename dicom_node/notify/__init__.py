"""Telling other systems of a positive result: HL7 v2 over MLLP, and a signed webhook."""
