//! Which packets go to the sockets.

use super::asm::{Assembler, Insn, Reg, Width};
use crate::errors::Result;
use std::fmt;

/// Which packets a socket receives; the rest goes on to the kernel's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steering(());

impl Steering {
    /// Every packet.
    #[must_use]
    pub fn all() -> Self {
        Self(())
    }

    pub(super) fn compile(&self, map: i32) -> Result<Vec<Insn>> {
        let mut asm = Assembler::default();
        asm.load(Width::Word, Reg::R2, Reg::R1, 16);
        asm.set_map(Reg::R1, map);
        asm.set(Reg::R3, 2);
        asm.call(51);
        asm.exit();
        Ok(asm.finish().unwrap_or_default())
    }
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all")
    }
}
