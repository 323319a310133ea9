//! Fine-tunes pretrained image classifiers: transfer methods, training loop, evaluation, reports
