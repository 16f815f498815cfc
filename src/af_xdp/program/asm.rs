//! A small assembler for BPF: as many instructions as a steering program needs, with labels for jumps.
//!
//! The instruction set is described in the kernel's `Documentation/bpf/standardization/instruction-set.rst`.

/// One instruction, as `struct bpf_insn` lays it out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    code: u8,
    /// Destination register in one half, source register in the other.
    regs: u8,
    off: i16,
    imm: i32,
}

impl Insn {
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        // The two are bit fields of C: the first takes the low half on a little-endian machine, the high one on others.
        let regs = if cfg!(target_endian = "little") { dst | src << 4 } else { dst << 4 | src };
        Self { code, regs, off, imm }
    }
}

/// A register. `R0` is a call's result, `R1` to `R5` its arguments, `R6` to `R9` survive it, below `R10` is the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How much a load takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
    Double = 0x18,
}

/// A condition between two unsigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum If {
    Equal = 0x10,
    Above = 0x20,
    NotEqual = 0x50,
    Below = 0xa0,
}

/// A place to jump to; [`Assembler::place`] says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Insn>,
    /// Where each label is, once it is placed.
    labels: Vec<Option<usize>>,
    /// Jumps to be completed: the instruction, and where it goes.
    jumps: Vec<(usize, Label)>,
}

/// A jump that cannot be written: longer than 32767 instructions, or to a label that was never placed.
#[derive(Debug, PartialEq, Eq)]
pub struct TooFar;

const ALU64: u8 = 0x07;
const JMP: u8 = 0x05;
const JMP32: u8 = 0x06;
const FROM_REG: u8 = 0x08;

impl Assembler {
    fn push(&mut self, code: u8, dst: Reg, src: Reg, off: i16, imm: i32) {
        self.code.push(Insn::new(code, dst as u8, src as u8, off, imm));
    }

    /// Instructions so far.
    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// A new label, not placed yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label before the next instruction.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// `dst = src`
    pub fn copy(&mut self, dst: Reg, src: Reg) {
        self.push(ALU64 | 0xb0 | FROM_REG, dst, src, 0, 0);
    }

    /// `dst = imm`
    pub fn set(&mut self, dst: Reg, imm: i32) {
        self.push(ALU64 | 0xb0, dst, Reg::R0, 0, imm);
    }

    /// `dst = imm`, of 64 bits (two instructions).
    pub fn set64(&mut self, dst: Reg, imm: u64) {
        self.push(0x18, dst, Reg::R0, 0, imm as i32);
        self.push(0, Reg::R0, Reg::R0, 0, (imm >> 32) as i32);
    }

    /// `dst =` the map behind a descriptor (two instructions).
    pub fn set_map(&mut self, dst: Reg, map: i32) {
        // A source register of 1 is BPF_PSEUDO_MAP_FD.
        self.push(0x18, dst, Reg::R1, 0, map);
        self.push(0, Reg::R0, Reg::R0, 0, 0);
    }

    /// `dst += imm`
    pub fn add(&mut self, dst: Reg, imm: i32) {
        self.push(ALU64, dst, Reg::R0, 0, imm);
    }

    /// `dst += src`
    pub fn add_reg(&mut self, dst: Reg, src: Reg) {
        self.push(ALU64 | FROM_REG, dst, src, 0, 0);
    }

    /// `dst &= imm`, the immediate extended with its sign.
    pub fn and(&mut self, dst: Reg, imm: i32) {
        self.push(ALU64 | 0x50, dst, Reg::R0, 0, imm);
    }

    /// `dst &= src`
    pub fn and_reg(&mut self, dst: Reg, src: Reg) {
        self.push(ALU64 | 0x50 | FROM_REG, dst, src, 0, 0);
    }

    /// `dst <<= imm`
    pub fn shift_left(&mut self, dst: Reg, imm: i32) {
        self.push(ALU64 | 0x60, dst, Reg::R0, 0, imm);
    }

    /// `dst =` its low 16 bits, from network byte order.
    pub fn be16(&mut self, dst: Reg) {
        self.push(0xdc, dst, Reg::R0, 0, 16);
    }

    /// `dst = *(src + off)`, extended with zeros.
    pub fn load(&mut self, width: Width, dst: Reg, src: Reg, off: i16) {
        self.push(0x61 | width as u8, dst, src, off, 0);
    }

    /// `*(dst + off) = src`
    pub fn store(&mut self, width: Width, dst: Reg, off: i16, src: Reg) {
        self.push(0x63 | width as u8, dst, src, off, 0);
    }

    /// Goes to `to` always.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JMP, Reg::R0, Reg::R0, 0, 0);
    }

    /// Goes to `to` if the condition holds for all 64 bits of two registers.
    pub fn jump_if_reg(&mut self, when: If, dst: Reg, src: Reg, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JMP | FROM_REG | when as u8, dst, src, 0, 0);
    }

    /// Goes to `to` if the condition holds for the low 32 bits of a register and a constant.
    pub fn jump_if(&mut self, when: If, dst: Reg, imm: u32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JMP32 | when as u8, dst, Reg::R0, 0, imm as i32);
    }

    /// `r0 =` what helper number `helper` returns.
    pub fn call(&mut self, helper: i32) {
        self.push(JMP | 0x80, Reg::R0, Reg::R0, 0, helper);
    }

    /// Returns `r0`.
    pub fn exit(&mut self) {
        self.push(JMP | 0x90, Reg::R0, Reg::R0, 0, 0);
    }

    /// The finished program.
    pub fn finish(mut self) -> Result<Vec<Insn>, TooFar> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0].ok_or(TooFar)?;
            let distance = to as i64 - at as i64 - 1;
            self.code[at].off = i16::try_from(distance).map_err(|_| TooFar)?;
        }
        Ok(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_find_their_labels_both_ways() {
        let mut asm = Assembler::default();
        let (back, forth) = (asm.label(), asm.label());
        asm.place(back);
        asm.jump(forth);
        asm.set(Reg::R0, 1);
        asm.jump(back);
        asm.place(forth);
        asm.exit();
        let code = asm.finish().unwrap();
        assert_eq!(code[0], Insn::new(0x05, 0, 0, 2, 0));
        assert_eq!(code[2], Insn::new(0x05, 0, 0, -3, 0));
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let mut asm = Assembler::default();
        let nowhere = asm.label();
        asm.jump(nowhere);
        assert_eq!(asm.finish(), Err(TooFar));

        let mut asm = Assembler::default();
        let far = asm.label();
        asm.jump(far);
        for _ in 0..0x8000 {
            asm.exit();
        }
        asm.place(far);
        asm.exit();
        assert_eq!(asm.finish(), Err(TooFar));
    }
}
