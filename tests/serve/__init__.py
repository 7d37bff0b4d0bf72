"""Tests of tune/serve: the API over real HTTP on loopback, with the official client."""
