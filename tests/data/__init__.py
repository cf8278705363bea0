"""Tests of ddpm_edu.data."""
