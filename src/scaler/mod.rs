//! The scaler.
