"""STOW-RS (PS3.18 10.5): results to a DICOMweb service over HTTP."""
