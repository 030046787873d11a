"""What the controller does for a release: collects its files, composes its manifest, packs the payload."""
