"""The test machine of pileguard: image, machine, load, probes, scenarios."""
