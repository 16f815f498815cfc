use super::*;

#[test]
fn a_pcapng_file_is_whole_blocks() {
    let mut file = Vec::new();
    let mut writer = CaptureWriter::new(&mut file, Layout { interface: Some("va".into()), ..Layout::default() });
    writer.write(&[7; 61], 1_700_000_000_123_456_789, 1514).unwrap();
    writer.finish().unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let mut at = 0;
    let mut kinds = Vec::new();
    while at < file.len() {
        let len = word(at + 4) as usize;
        assert_eq!(len % 4, 0);
        assert_eq!(word(at + len - 4) as usize, len, "both lengths of a block agree");
        kinds.push(word(at));
        at += len;
    }
    assert_eq!((at, kinds), (file.len(), vec![SECTION_HEADER, INTERFACE, ENHANCED_PACKET]));
}

#[test]
fn the_direction_is_told_by_an_option() {
    for (direction, flags) in [(Direction::Received, 1), (Direction::Sent, 2)] {
        let mut file = Vec::new();
        let mut writer = CaptureWriter::resume(&mut file, Layout::default());
        writer.write_directed(&[7; 61], 1, 61, direction).unwrap();
        assert_eq!((writer.waiting(), writer.written()), (1, 0));
        writer.finish().unwrap();
        let words: Vec<u32> = file.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!((words[1] as usize, *words.last().unwrap() as usize), (file.len(), file.len()));
        // Behind seven words and 64 bytes: code 2 of 4 bytes, the flags, the end.
        assert_eq!(words[23..26], [4 << 16 | 2, flags, 0]);
    }
}
