//! placeholder: see helper
