"""Controller side of a release: collects its files, composes its manifest, packs the payload."""
