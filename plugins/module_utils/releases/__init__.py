"""Releases and slots: build, check, start, switch."""
