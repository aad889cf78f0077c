"""Make a student: labelled frames, the trainer, and what proves a model."""
