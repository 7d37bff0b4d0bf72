"""Trials that train the base model itself: all of its weights, or LoRA matrices beside its attention layers.

trial.py is the entry point and the training loop; model.py builds models and reads them back, looks.py plans
validation, lora.py adds and merges the matrices, trained.py scores and exports the result. Import from these modules
directly: all of them load torch.
"""
