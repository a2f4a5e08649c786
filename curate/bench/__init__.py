"""Measure on labelled sets: known noise is put in; the bench measures what finds it, and whether cleaning helps."""
