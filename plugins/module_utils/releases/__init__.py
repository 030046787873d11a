"""Releases and slots: build, check, start and switch."""
