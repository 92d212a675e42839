"""How the shipped bundle is made: samples from the generator, two networks, calibration, manifest."""
