//! What integration tests share. Each test binary uses a part of it.
#![allow(dead_code, reason = "every test binary compiles the whole module and uses a part of it")]

#[cfg(target_os = "linux")]
pub mod netns;
