"""Pretraining of the shipped base model and of the judges, stage by stage."""
