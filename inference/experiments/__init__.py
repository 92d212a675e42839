"""The fracture models: one TOML file and one family of code each, trained, calibrated and packed in the same way."""
