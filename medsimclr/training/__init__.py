"""The loop, its checkpoints and log, and the three trainings: pretrain, finetune, distill."""
