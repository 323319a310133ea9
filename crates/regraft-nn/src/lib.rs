//! Architectures as data, the planner, the engine that runs a plan, and weight files of Regraft

pub mod weights;
