//! EfficientNet-Lite0 with ImageNet weights, embedded in Regraft as its source model
