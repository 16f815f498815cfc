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
